"""One module a rule, under the rule's name."""

from regime_w.runtime.errors import tell_limits_of_imports

tell_limits_of_imports()  # libraries that stages import may want more memory than there is
