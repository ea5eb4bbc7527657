"""Models: base model, SFT adapter, and the merge of every adapter into its base.

INPUTS   what the config sections `base_model` and `sft` name; data/{run}/questions/sft.jsonl
OUTPUTS  checkpoints/{run}/base, sft_lora, sft_merged, round{round}/merged: folders with a manifest.json, their seals beside them
NEEDS    a GPU where there is one
"""


rule base_model:
    input:
        files=named(CONFIG["base_model"]["path"]),
    output:
        model=directory("checkpoints/{run}/base"),
        seal="checkpoints/{run}/base.sha256",
        usage="benchmarks/{run}/base_model.usage.json",
    log:
        "logs/{run}/base_model.log",
    wildcard_constraints:
        run=re.escape(RUN),
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    params:
        code=code(
            "base_model",
            skip=[] if CONFIG["base_model"]["source"] == "tiny" else ["regime_w.models.tiny"],
        ),
        config=part(**CONFIG["base_model"], seed=CONFIG["seed"]),
        # Looked at and no more: with an argument beside the wildcards a parameter is none that Snakemake reruns for.
        prompts=lambda wildcards, output: argument(prompts_asked(CONFIG)),
    shell:
        stage(
            "base_model",
            "--params {params.config:q}",
            "--prompts {params.prompts:q}",
            "--output {output.model:q}",
        )


rule train_sft:
    input:
        unpack(
            sealed(
                base=BASE,
                questions=(
                    [] if CONFIG["sft"]["adapter"] else made_in_round("train_sft", "questions")
                ),
            )
        ),
        files=named(CONFIG["sft"]["adapter"]),
    output:
        adapter=directory("checkpoints/{run}/sft_lora"),
        seal="checkpoints/{run}/sft_lora.sha256",
        usage="benchmarks/{run}/train_sft.usage.json",
    log:
        "logs/{run}/train_sft.log",
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    resources:
        gpu=training_gpus("train_sft", "sft"),
    params:
        code=code("train_sft"),
        config=reads("train_sft"),
        card=card_of("train_sft"),
        tracking=tracked("train_sft"),
    shell:
        stage(
            "train_sft",
            "--params {params.config:q}",
            "--base {input.base:q}",
            "--questions {input.questions:q}",
            "--work {output.adapter:q}.work",
            "--output {output.adapter:q}",
            "--card {params.card:q}",
            "--tracking {params.tracking:q}",
            "--gpus {resources.gpu:q}",
        )


rule merge_lora:
    input:
        unpack(sealed(base=merge_base, adapter=made_in_round("merge_lora", "adapter"))),
    output:
        model=directory("checkpoints/{run}/{policy}"),
        seal="checkpoints/{run}/{policy}.sha256",
        usage="benchmarks/{run}/merge_lora/{policy}.usage.json",
    log:
        "logs/{run}/merge_lora/{policy}.log",
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=2)
    resources:
        gpu=0 if CONFIG["merge"]["device"] == "cpu" else ONE_GPU,
    params:
        code=code("merge_lora"),
        config=reads("merge_lora"),
        card=card_of("merge_lora"),
    shell:
        stage(
            "merge_lora",
            "--params {params.config:q}",
            "--base {input.base:q}",
            "--adapter {input.adapter:q}",
            "--output {output.model:q}",
            "--card {params.card:q}",
            "--gpus {resources.gpu:q}",
        )
