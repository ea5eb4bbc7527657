"""What a round trains on and its training: preference pairs and DPO, or the policy's own correct trajectories and SFT.

INPUTS   data/{run}/round{round}/rollouts.jsonl and its check, the round's policy
OUTPUTS  data/{run}/round{round}/preferences.jsonl, preferences.json; checkpoints/{run}/round{round}/dpo_lora
         or data/{run}/round{round}/samples.jsonl, samples.json; checkpoints/{run}/round{round}/rft_lora
NEEDS    build_preferences, build_samples: CPU; train_dpo, train_rft: GPUs where there are any
"""


rule build_preferences:
    input:
        unpack(
            sealed(
                **chats_policy("build_preferences"),
                rollouts=made_in_round("build_preferences", "rollouts"),
            )
        ),
        check=made_in_round("build_preferences", "check"),
    output:
        preferences="data/{run}/round{round}/preferences.jsonl",
        seal="data/{run}/round{round}/preferences.jsonl.seal",
        summary="data/{run}/round{round}/preferences.json",
        usage="benchmarks/{run}/round{round}/build_preferences.usage.json",
    log:
        "logs/{run}/round{round}/build_preferences.log",
    conda:
        ENV
    threads: 2
    params:
        code=code("build_preferences"),
        config=reads("build_preferences"),
    shell:
        stage(
            "build_preferences",
            "--params {params.config:q}",
            "--rollouts {input.rollouts:q}",
            *CHATS_POLICY,
            "--output {output.preferences:q}",
            "--summary {output.summary:q}",
        )


rule train_dpo:
    input:
        unpack(
            sealed(
                policy=policy_of("train_dpo"), preferences=made_in_round("train_dpo", "examples")
            )
        ),
    output:
        adapter=directory("checkpoints/{run}/round{round}/dpo_lora"),
        seal="checkpoints/{run}/round{round}/dpo_lora.sha256",
        usage="benchmarks/{run}/round{round}/train_dpo.usage.json",
    log:
        "logs/{run}/round{round}/train_dpo.log",
    # A job for all GPUs would wait for long behind jobs for one.
    priority: 10
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    resources:
        gpu=training_gpus("train_dpo", "dpo"),
    params:
        code=code("train_dpo"),
        config=reads("train_dpo"),
        card=card_of("train_dpo"),
        tracking=tracked("train_dpo"),
    shell:
        stage(
            "train_dpo",
            "--params {params.config:q}",
            "--policy {input.policy:q}",
            "--preferences {input.preferences:q}",
            "--work {output.adapter:q}.work",
            "--output {output.adapter:q}",
            "--card {params.card:q}",
            "--tracking {params.tracking:q}",
            "--gpus {resources.gpu:q}",
        )


rule build_samples:
    input:
        unpack(
            sealed(
                **chats_policy("build_samples"),
                rollouts=made_in_round("build_samples", "rollouts"),
            )
        ),
        check=made_in_round("build_samples", "check"),
    output:
        samples="data/{run}/round{round}/samples.jsonl",
        seal="data/{run}/round{round}/samples.jsonl.seal",
        summary="data/{run}/round{round}/samples.json",
        usage="benchmarks/{run}/round{round}/build_samples.usage.json",
    log:
        "logs/{run}/round{round}/build_samples.log",
    conda:
        ENV
    params:
        code=code("build_samples"),
        config=reads("build_samples"),
    shell:
        stage(
            "build_samples",
            "--params {params.config:q}",
            "--rollouts {input.rollouts:q}",
            *CHATS_POLICY,
            "--output {output.samples:q}",
            "--summary {output.summary:q}",
        )


rule train_rft:
    input:
        unpack(
            sealed(policy=policy_of("train_rft"), samples=made_in_round("train_rft", "examples"))
        ),
    output:
        adapter=directory("checkpoints/{run}/round{round}/rft_lora"),
        seal="checkpoints/{run}/round{round}/rft_lora.sha256",
        usage="benchmarks/{run}/round{round}/train_rft.usage.json",
    log:
        "logs/{run}/round{round}/train_rft.log",
    priority: 10
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    resources:
        gpu=training_gpus("train_rft", "rejection_sampling"),
    params:
        code=code("train_rft"),
        config=reads("train_rft"),
        card=card_of("train_rft"),
        tracking=tracked("train_rft"),
    shell:
        stage(
            "train_rft",
            "--params {params.config:q}",
            "--policy {input.policy:q}",
            "--samples {input.samples:q}",
            "--work {output.adapter:q}.work",
            "--output {output.adapter:q}",
            "--card {params.card:q}",
            "--tracking {params.tracking:q}",
            "--gpus {resources.gpu:q}",
        )
