"""Start: another tool's rollouts or preference pairs in the place of round 1's own.

INPUTS   the file that the config section `start` names; for rollouts the round's policy, whose tokenizer gives token ids
OUTPUTS  data/{run}/questions/round1.jsonl, and data/{run}/round1/completions/given.jsonl, given.json or preferences.jsonl,
         preferences.json
NEEDS    CPU
"""

START = CONFIG["start"]


ruleorder: import_rollouts > split_questions
ruleorder: import_preferences > split_questions
ruleorder: import_preferences > build_preferences


def round_of(what):
    """The round whose place a file of this kind takes: the first, or none where another kind is given."""
    return "1" if START[what] else "(?!)"


rule import_rollouts:
    input:
        unpack(sealed(policy=policy_of("import_rollouts"))),
        rollouts=named(START["rollouts"]),
    output:
        questions="data/{run}/questions/round{round}.jsonl",
        completions="data/{run}/round{round}/completions/given.jsonl",
        seals=[
            "data/{run}/questions/round{round}.jsonl.seal",
            "data/{run}/round{round}/completions/given.jsonl.seal",
        ],
        summary="data/{run}/round{round}/given.json",
        usage="benchmarks/{run}/round{round}/import_rollouts.usage.json",
    log:
        "logs/{run}/round{round}/import_rollouts.log",
    wildcard_constraints:
        round=round_of("rollouts"),
    localrule: True
    conda:
        ENV
    params:
        code=code("import_rollouts"),
        config=reads("import_rollouts"),
    shell:
        stage(
            "import_rollouts",
            "--params {params.config:q}",
            "--policy {input.policy:q}",
            "--questions {output.questions:q}",
            "--completions {output.completions:q}",
            "--summary {output.summary:q}",
        )


rule import_preferences:
    input:
        preferences=named(START["preferences"]),
    output:
        preferences="data/{run}/round{round}/preferences.jsonl",
        summary="data/{run}/round{round}/preferences.json",
        questions="data/{run}/questions/round{round}.jsonl",
        seals=[
            "data/{run}/round{round}/preferences.jsonl.seal",
            "data/{run}/questions/round{round}.jsonl.seal",
        ],
        usage="benchmarks/{run}/round{round}/import_preferences.usage.json",
    log:
        "logs/{run}/round{round}/import_preferences.log",
    wildcard_constraints:
        round=round_of("preferences"),
    localrule: True
    conda:
        ENV
    params:
        code=code("import_preferences"),
        config=reads("import_preferences"),
    shell:
        stage(
            "import_preferences",
            "--params {params.config:q}",
            "--output {output.preferences:q}",
            "--summary {output.summary:q}",
            "--questions {output.questions:q}",
        )
