"""Rollouts: one trajectory an arm for each question, then correctness, coherence and reward.

INPUTS   the round's policy (a merged model), data/{run}/train.jsonl
OUTPUTS  data/{run}/round{round}/completions/{shard}.jsonl, rollouts.jsonl; results/{run}/round{round}/rollouts_check.json
NEEDS    generate: one GPU a shard (tensor_parallel_size of them) where there are any; the others: CPU
"""


rule generate:
    input:
        code=code("generate"),
        model=policy_of("generate"),
        questions=f"data/{RUN}/train.jsonl",
    output:
        completions="data/{run}/round{round}/completions/{shard}.jsonl",
        usage="benchmarks/{run}/round{round}/generate/{shard}.usage.json",
    log:
        "logs/{run}/round{round}/generate/{shard}.log",
    benchmark:
        "benchmarks/{run}/round{round}/generate/{shard}.tsv"
    # Evaluations can wait; the round cannot go on without this.
    priority: 5
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=ENGINE_GPUS,
    params:
        config=reads("generate"),
        journal="data/{run}/round{round}/journal",
    shell:
        "python -m regime_w.runtime.job --stage generate --gpus {resources.gpu:q} --lock {output.completions:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.generate --params {params.config:q} --model {input.model:q}"
        " --questions {input.questions:q} --round {wildcards.round:q} --shard {wildcards.shard:q}"
        " --journal {params.journal:q} --output {output.completions:q} --gpus {resources.gpu:q}"
        " 2>&1 | tee -i {log:q}"


rule score_rollouts:
    input:
        code=code("score_rollouts"),
        verifier=VERIFIER,
        completions=completions,
        questions=f"data/{RUN}/train.jsonl",
    output:
        rollouts="data/{run}/round{round}/rollouts.jsonl",
        usage="benchmarks/{run}/round{round}/score_rollouts.usage.json",
    log:
        "logs/{run}/round{round}/score_rollouts.log",
    benchmark:
        "benchmarks/{run}/round{round}/score_rollouts.tsv"
    conda:
        ENV
    params:
        config=reads("score_rollouts"),
        completions=lambda wildcards: completions(wildcards, short=True),
    shell:
        "python -m regime_w.runtime.job --stage score_rollouts --lock {output.rollouts:q} --usage {output.usage:q} --"
        " python -m scripts.score_rollouts --params {params.config:q}"
        " --completions {params.completions:q} --questions {input.questions:q}"
        " --output {output.rollouts:q} 2>&1 | tee -i {log:q}"


rule check_rollouts:
    input:
        code=code("check_rollouts"),
        rollouts=made_in_round("check_rollouts", "rollouts"),
    output:
        check="results/{run}/round{round}/rollouts_check.json",
        usage="benchmarks/{run}/round{round}/check_rollouts.usage.json",
    log:
        "logs/{run}/round{round}/check_rollouts.log",
    benchmark:
        "benchmarks/{run}/round{round}/check_rollouts.tsv"
    conda:
        ENV
    threads: 2
    params:
        config=reads("check_rollouts"),
    shell:
        "python -m regime_w.runtime.job --stage check_rollouts --lock {output.check:q} --usage {output.usage:q} --"
        " python -m scripts.check_rollouts --params {params.config:q}"
        " --rollouts {input.rollouts:q} --output {output.check:q} 2>&1 | tee -i {log:q}"
