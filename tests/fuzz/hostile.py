"""Strategies for hostile input: texts, JSON values, bytes of a line."""

from hypothesis import strategies as st

# Each sets the page's title, or asks for a file of BEACON, where it runs.
BEACON = "http://127.0.0.1:9/"
RUN = "document.title='owned'"
PAYLOADS = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"</pre></td></table></details></style></title></svg><script>{RUN}</script>",
    f"--><script>{RUN}</script><!--",
    f"]]><script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    f'"><img src=x onerror="{RUN}">',
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}' x='",
    f'" autofocus tabindex=1 onfocus="{RUN}" x="',
    f'<svg onload="{RUN}"><animate onbegin="{RUN}" attributeName=x dur=1s>',
    f"<svg><script>{RUN}</script></svg>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={RUN}>",
    f"<details open ontoggle={RUN}>",
    f"<body onload={RUN}><iframe srcdoc='<script>parent.{RUN}</script>'>",
    f"<a href=\"javascript:{RUN}\" id=x>x</a><script>x.click()</script>",
    f"<noscript><p title=\"</noscript><img src=x onerror={RUN}>\">",
    f"&lt;script&gt;{RUN}&lt;/script&gt;&#60;script&#62;{RUN}&#60;/script&#62;",
    f"\\u003cscript\\u003e{RUN}\\x3cscript\\x3e",
    f"<scr\x00ipt>{RUN}</scr\x00ipt>",
    f"<link rel=stylesheet href={BEACON}link><img src={BEACON}img><style>@import '{BEACON}import';</style>",
    f"x;background:url({BEACON}css)}} body{{background:url({BEACON}css2)}} </style><style>*{{background:url({BEACON}css3)}}",
    f'" style="background:url({BEACON}style)" x="',
    f"<meta http-equiv=refresh content='0;url={BEACON}meta'><base href={BEACON}>",
    f"<form action={BEACON}form><input autofocus onfocus=this.form.submit()></form>",
    f"![x]({BEACON}md) [x](javascript:{RUN}) <{BEACON}auto>",
    f"```\n<script>{RUN}</script>\n```",
    f"| a | b |\n|---|---|\n| <script>{RUN}</script> |",
    "{{ 7*7 }}{% raw %}{% endraw %}{# #}${7*7}<%= 7*7 %>{{ ''.__class__.__mro__ }}#{7*7}",
    "%s%n{0}{question}{{question}}$(touch pwned)`touch pwned`; touch pwned #",
    "\u202e\u2066\u2067txt.exe\u2069\u200f\u061c\u2028\u2029\x85",
    "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\x08\x7f\x0b\x0c\r\n\x00",
    "$\\frac{1}{0}$ $$\\input{/etc/passwd}$$ \\write18{touch pwned}",
    "=HYPERLINK(\"http://127.0.0.1:9/\")\t@SUM(1)\t+1\t-1",
)

# What the method's own grammar reacts to, and what could make a regular expression backtrack.
PIECES = (
    *("####", "#### ", "#####", "Answer:", "**Answer**: ", "answer :", "\\boxed{", "\\boxed {", "{", "}", "\\frac{", "}{"),
    *("\\text{", "\\dfrac12", "\\!", "{,}", "\\(", "\\$", "\\%", "$", "€", "%", "USD ", "\n", "\n\n", "\r", "\t", " ", "  "),
    *("Question", "\nQuestion:", "</s>", "<|im_end|>", "Step 1:", "1.", "1)", "-", "--", "–", "\u2212", "+", "*", "**", "/"),
    *(" / ", "=", "==", "<", ">", "<<48/2=24>>", "<<", ">>", "x", "×", "÷", "^", "!", ":", ";", ",", ",,", ".", "..", "...", "or"),
    *(" or ", "and", "million", " thousand", "0", "1", "-0", "00", "18", "1,000", "1,00", "1 000 000", "3.", ".5", "1e5", "1e999"),
    *("9" * 30, "9" * 5000, "1/3", "1/0", "0/0", "2 1/2", "½", "²", "٣", "３", "𝟑", "Ⅷ", "eighteen", "\u00a0", "\u200b", "\ufeff"),
    *("\\", "\\\\", "_", "`", "(", ")", "((", "[", "]", "'", '"', "|", "~", "&", "@", "\x00", "\x1b[31m", "\u202e", "\ud800", "\udfff"),
    *("sqrt", "\\sqrt{", "\\infty", "\\pi", "inf", "nan", "None", "null", "x=", "e", "i", "\\cdot", "log", "\U0001f600", "é", "e\u0301"),
)

characters = st.one_of(st.characters(), st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Nd", "No"]))
free = st.text(characters, max_size=40)
made_of_pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=30).map("".join)
# One piece, or a few in turn, many times: what hangs a backtracking pattern.
repeated = st.builds(
    lambda pieces, times, end: "".join(pieces) * (times // max(1, len("".join(pieces)))) + end,
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4),
    st.sampled_from((100, 1_000, 20_000, 100_000)),
    st.sampled_from(PIECES),
)
payloads = st.sampled_from(PAYLOADS)
wrapped = st.builds(lambda a, b, c: a + b + c, free, payloads, st.sampled_from(PIECES))
texts = st.one_of(free, made_of_pieces, payloads, wrapped)

numbers = st.one_of(
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.sampled_from((0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**400, 1e308, 5e-324, -0.0)),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)), max_leaves=8
)


KINDS = {"list": ("[", "]"), "dict": ('{"a":', "}"), "open": ("[", "")}


def nested(inner: str, depth: int, kind: str) -> str:
    opening, closing = KINDS[kind]
    return opening * depth + inner + closing * depth
