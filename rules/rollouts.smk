"""Rollouts: one trajectory an arm for each question, then correctness, coherence and reward.

INPUTS   the round's policy (a merged model), data/{run}/questions/round{round}.jsonl
OUTPUTS  data/{run}/round{round}/completions/{shard}.jsonl, rollouts.jsonl; results/{run}/round{round}/rollouts_check.json;
         results/{run}/round{round}/labels.json: labels without gold against gold, of runs that withhold it, and of others on demand
NEEDS    generate: one GPU a shard (tensor_parallel_size of them) where there are any; the others: CPU
"""


rule generate:
    input:
        unpack(
            sealed(model=policy_of("generate"), questions=made_in_round("generate", "questions"))
        ),
    output:
        completions="data/{run}/round{round}/completions/{shard}.jsonl",
        seal="data/{run}/round{round}/completions/{shard}.jsonl.seal",
        usage="benchmarks/{run}/round{round}/generate/{shard}.usage.json",
    log:
        "logs/{run}/round{round}/generate/{shard}.log",
    # Evaluations can wait; the round cannot go on without this.
    priority: 5
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=ENGINE_GPUS,
    params:
        code=code("generate"),
        config=reads("generate"),
        round=subpath(output.completions, ancestor=2),
    shell:
        stage(
            "generate",
            "--params {params.config:q}",
            "--model {input.model:q}",
            "--questions {input.questions:q}",
            "--round {wildcards.round:q}",
            "--shard {wildcards.shard:q}",
            "--journal {params.round:q}/journal",
            "--output {output.completions:q}",
            "--gpus {resources.gpu:q}",
            SHARING,
        )


rule score_rollouts:
    input:
        unpack(
            sealed(completions=completions, questions=made_in_round("score_rollouts", "questions"))
        ),
        verifier=[local(file) for file in VERIFIER],
    output:
        rollouts="data/{run}/round{round}/rollouts.jsonl",
        seal="data/{run}/round{round}/rollouts.jsonl.seal",
        usage="benchmarks/{run}/round{round}/score_rollouts.usage.json",
    log:
        "logs/{run}/round{round}/score_rollouts.log",
    conda:
        ENV
    params:
        code=code("score_rollouts"),
        config=reads("score_rollouts"),
        completions=lambda wildcards, input: short(input.completions),
    shell:
        stage(
            "score_rollouts",
            "--params {params.config:q}",
            "--completions {params.completions:q}",
            "--questions {input.questions:q}",
            "--output {output.rollouts:q}",
        )


rule check_rollouts:
    input:
        unpack(sealed(rollouts=made_in_round("check_rollouts", "rollouts"))),
    output:
        check="results/{run}/round{round}/rollouts_check.json",
        usage="benchmarks/{run}/round{round}/check_rollouts.usage.json",
    log:
        "logs/{run}/round{round}/check_rollouts.log",
    conda:
        ENV
    threads: 2
    params:
        code=code("check_rollouts"),
        config=reads("check_rollouts"),
    shell:
        stage(
            "check_rollouts",
            "--params {params.config:q}",
            "--rollouts {input.rollouts:q}",
            "--output {output.check:q}",
        )


rule check_labels:
    input:
        unpack(
            sealed(
                rollouts=made_in_round("check_labels", "rollouts"),
                questions=made_in_round("check_labels", "questions"),
            )
        ),
        verifier=[local(file) for file in VERIFIER],
    output:
        labels="results/{run}/round{round}/labels.json",
    log:
        "logs/{run}/round{round}/check_labels.log",
    wildcard_constraints:
        run=re.escape(RUN),
    conda:
        ENV
    threads: 2
    params:
        code=code("check_labels"),
        config=part(
            task=CONFIG["task"],
            pairs=CONFIG["pairs"] | {"by": "correct"},
            alpha=CONFIG["reward"]["alpha"],
            seed=CONFIG["seed"],
        ),
    shell:
        stage(
            "check_labels",
            "--params {params.config:q}",
            "--rollouts {input.rollouts:q}",
            "--questions {input.questions:q}",
            "--output {output.labels:q}",
            usage=False,
        )
