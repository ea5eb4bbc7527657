"""What EleutherAI's lm-evaluation-harness is to the outside check: the package, and the verifiers whose answers it grades."""

HARNESS = "lm-eval[hf,math]==0.4.13"  # as envs/outside.txt has it
MISSING = (
    "lm-eval is not installed here: `make outside_check` makes an environment that has it, in .venv-outside; or"
    f" pip install '{HARNESS}'"
)
# The harness's own task of each, in its folder of tasks.
TASKS = {"number": "gsm8k/gsm8k.yaml", "latex": "minerva_math/minerva_math_algebra.yaml"}
