"""Models: base model, SFT adapter, and the merge of every adapter into its base.

INPUTS   what the config sections `base_model` and `sft` name; data/{run}/train.jsonl
OUTPUTS  checkpoints/{run}/base, sft_lora, sft_merged, round{round}/merged, each with its manifest.json
NEEDS    a GPU where there is one
"""


rule base_model:
    input:
        code=code(
            "base_model", skip=[] if CONFIG["base_model"]["source"] == "tiny" else ["regime_w.models.tiny"]
        ),
        model=(
            [CONFIG["base_model"]["path"]]
            if CONFIG["base_model"]["path"] and Path(CONFIG["base_model"]["path"]).is_file()
            else []
        ),
    output:
        manifest="checkpoints/{run}/base/manifest.json",
        usage="benchmarks/{run}/base_model.usage.json",
    log:
        "logs/{run}/base_model.log",
    benchmark:
        "benchmarks/{run}/base_model.tsv"
    wildcard_constraints:
        run=re.escape(RUN),
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    params:
        config=part(**CONFIG["base_model"], seed=CONFIG["seed"]),
        # Looked at and no more: with an argument beside the wildcards a parameter is none that Snakemake reruns for.
        prompts=lambda wildcards, output: json.dumps(prompt_of(CONFIG)),
    shell:
        "python -m regime_w.runtime.job --stage base_model --lock {output.manifest:q} --usage {output.usage:q} --"
        " python -m scripts.base_model --params {params.config:q}"
        " --prompts {params.prompts:q} --output {output.manifest:q} 2>&1 | tee -i {log:q}"


rule train_sft:
    input:
        code=code("train_sft"),
        base=BASE,
        questions=f"data/{RUN}/train.jsonl",
    output:
        manifest="checkpoints/{run}/sft_lora/manifest.json",
        usage="benchmarks/{run}/train_sft.usage.json",
    log:
        "logs/{run}/train_sft.log",
    benchmark:
        "benchmarks/{run}/train_sft.tsv"
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=4)
    resources:
        gpu=training_gpus("train_sft", "sft"),
    params:
        config=reads("train_sft"),
        work=subpath(output.manifest, parent=True),
    shell:
        "python -m regime_w.runtime.job --stage train_sft --gpus {resources.gpu:q} --lock {output.manifest:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.train_sft --params {params.config:q} --base {input.base:q}"
        " --questions {input.questions:q} --work {params.work:q}.work --output {output.manifest:q}"
        " --gpus {resources.gpu:q} 2>&1 | tee -i {log:q}"


rule merge_lora:
    input:
        code=code("merge_lora"),
        base=merge_base,
        adapter=made_in_round("merge_lora", "adapter"),
    output:
        manifest="checkpoints/{run}/{policy}/manifest.json",
        usage="benchmarks/{run}/merge_lora/{policy}.usage.json",
    log:
        "logs/{run}/merge_lora/{policy}.log",
    benchmark:
        "benchmarks/{run}/merge_lora/{policy}.tsv"
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=2)
    resources:
        gpu=0 if CONFIG["merge"]["device"] == "cpu" else ONE_GPU,
    params:
        config=reads("merge_lora"),
    shell:
        "python -m regime_w.runtime.job --stage merge_lora --gpus {resources.gpu:q} --lock {output.manifest:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.merge_lora --params {params.config:q} --base {input.base:q}"
        " --adapter {input.adapter:q} --output {output.manifest:q} --gpus {resources.gpu:q}"
        " 2>&1 | tee -i {log:q}"
