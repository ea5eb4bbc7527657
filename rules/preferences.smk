"""What a round trains on and its training: preference pairs and DPO, or the policy's own correct trajectories and SFT.

INPUTS   data/{run}/round{round}/rollouts.jsonl and its check, the round's policy
OUTPUTS  data/{run}/round{round}/preferences.jsonl, preferences.json; checkpoints/{run}/round{round}/dpo_lora
         or data/{run}/round{round}/samples.jsonl, samples.json; checkpoints/{run}/round{round}/rft_lora
NEEDS    build_preferences, build_samples: CPU; train_dpo, train_rft: GPUs where there are any
"""


rule build_preferences:
    input:
        code=code("build_preferences"),
        policy=policy_of("build_preferences"),
        rollouts=made_in_round("build_preferences", "rollouts"),
        check=made_in_round("build_preferences", "check"),
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
    threads: 2
    params:
        config=reads("build_preferences"),
    shell:
        "python -m regime_w.runtime.job --stage build_preferences --lock {output.preferences:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.build_preferences --params {params.config:q}"
        " --rollouts {input.rollouts:q} --policy {input.policy:q} --output {output.preferences:q}"
        " --summary {output.summary:q} 2>&1 | tee -i {log:q}"


rule train_dpo:
    input:
        code=code("train_dpo"),
        policy=policy_of("train_dpo"),
        preferences=made_in_round("train_dpo", "examples"),
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
        gpu=training_gpus("train_dpo", "dpo"),
    params:
        config=reads("train_dpo"),
        work=subpath(output.manifest, parent=True),
    shell:
        "python -m regime_w.runtime.job --stage train_dpo --gpus {resources.gpu:q} --lock {output.manifest:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.train_dpo --params {params.config:q} --policy {input.policy:q}"
        " --preferences {input.preferences:q} --work {params.work:q}.work"
        " --output {output.manifest:q} --gpus {resources.gpu:q} 2>&1 | tee -i {log:q}"


rule build_samples:
    input:
        code=code("build_samples"),
        policy=policy_of("build_samples"),
        rollouts=made_in_round("build_samples", "rollouts"),
        check=made_in_round("build_samples", "check"),
    output:
        samples="data/{run}/round{round}/samples.jsonl",
        summary="data/{run}/round{round}/samples.json",
        usage="benchmarks/{run}/round{round}/build_samples.usage.json",
    log:
        "logs/{run}/round{round}/build_samples.log",
    benchmark:
        "benchmarks/{run}/round{round}/build_samples.tsv"
    conda:
        ENV
    params:
        config=reads("build_samples"),
    shell:
        "python -m regime_w.runtime.job --stage build_samples --usage {output.usage:q} --"
        " python -m scripts.build_samples --params {params.config:q}"
        " --rollouts {input.rollouts:q} --policy {input.policy:q} --output {output.samples:q}"
        " --summary {output.summary:q} 2>&1 | tee -i {log:q}"


rule train_rft:
    input:
        code=code("train_rft"),
        policy=policy_of("train_rft"),
        samples=made_in_round("train_rft", "examples"),
    output:
        manifest="checkpoints/{run}/round{round}/rft_lora/manifest.json",
        usage="benchmarks/{run}/round{round}/train_rft.usage.json",
    log:
        "logs/{run}/round{round}/train_rft.log",
    benchmark:
        "benchmarks/{run}/round{round}/train_rft.tsv"
    priority: 10
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    resources:
        gpu=training_gpus("train_rft", "rejection_sampling"),
    params:
        config=reads("train_rft"),
        work=subpath(output.manifest, parent=True),
    shell:
        "python -m regime_w.runtime.job --stage train_rft --gpus {resources.gpu:q} --lock {output.manifest:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.train_rft --params {params.config:q} --policy {input.policy:q}"
        " --samples {input.samples:q} --work {params.work:q}.work"
        " --output {output.manifest:q} --gpus {resources.gpu:q} 2>&1 | tee -i {log:q}"
