"""Preferences: pairs from scored rollouts, and a DPO adapter on the round's policy.

INPUTS   data/{run}/round{round}/rollouts.jsonl and its check, the round's policy
OUTPUTS  data/{run}/round{round}/preferences.jsonl, preferences.json; checkpoints/{run}/round{round}/dpo_lora
NEEDS    build_preferences: CPU; train_dpo: GPUs where there are any
"""


rule build_preferences:
    input:
        code=code("build_preferences"),
        rollouts="data/{run}/round{round}/rollouts.jsonl",
        check="results/{run}/round{round}/rollouts_check.json",
    output:
        preferences="data/{run}/round{round}/preferences.jsonl",
        summary="data/{run}/round{round}/preferences.json",
        usage="benchmarks/{run}/round{round}/build_preferences.usage.json",
    log:
        "logs/{run}/round{round}/build_preferences.log",
    benchmark:
        "benchmarks/{run}/round{round}/build_preferences.tsv"
    conda:
        ENV
    params:
        config=part(
            pairs=CONFIG["pairs"],
            styles=CONFIG["styles"],
            template=CONFIG["prompt"]["template"],
            seed=CONFIG["seed"],
        ),
    shell:
        "python -m scripts.job --stage build_preferences --lock {output.preferences:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.build_preferences --params {params.config:q}"
        " --rollouts {input.rollouts:q} --output {output.preferences:q}"
        " --summary {output.summary:q} 2>&1 | tee -i {log:q}"


rule train_dpo:
    input:
        code=code("train_dpo"),
        policy=policy_of,
        preferences="data/{run}/round{round}/preferences.jsonl",
    output:
        manifest="checkpoints/{run}/round{round}/dpo_lora/manifest.json",
        usage="benchmarks/{run}/round{round}/train_dpo.usage.json",
    log:
        "logs/{run}/round{round}/train_dpo.log",
    benchmark:
        "benchmarks/{run}/round{round}/train_dpo.tsv"
    # A job for all GPUs would wait for long behind jobs for one.
    priority: 10
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    resources:
        gpu=training_gpus("dpo"),
    params:
        config=part(dpo=CONFIG["dpo"], seed=CONFIG["seed"]),
        work=subpath(output.manifest, parent=True),
    shell:
        "python -m scripts.job --stage train_dpo --gpus {resources.gpu} --lock {output.manifest:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.train_dpo --params {params.config:q} --policy {input.policy:q}"
        " --preferences {input.preferences:q} --work {params.work:q}.work"
        " --output {output.manifest:q} --gpus {resources.gpu} 2>&1 | tee -i {log:q}"
