"""Evaluation: base, SFT and each round on the evaluation questions, and the report.

INPUTS   the models' manifests, data/{run}/eval.jsonl, and what every stage recorded of itself
OUTPUTS  data/{run}/eval/{model}.jsonl; results/{run}/eval_report.html, .md, .json, config.yaml
NEEDS    evaluate: a GPU where there is one; eval_report: CPU
"""


rule evaluate:
    input:
        code=code("evaluate"),
        model=lambda wildcards: manifest_of(wildcards.model),
        questions="data/{run}/eval.jsonl",
    output:
        records="data/{run}/eval/{model}.jsonl",
        usage="benchmarks/{run}/evaluate/{model}.usage.json",
    log:
        "logs/{run}/evaluate/{model}.log",
    benchmark:
        "benchmarks/{run}/evaluate/{model}.tsv"
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=CONFIG["engine"]["vllm"]["tensor_parallel_size"],
    params:
        config=part(
            evaluate=CONFIG["evaluate"],
            engine=CONFIG["engine"],
            styles=CONFIG["styles"],
            template=CONFIG["prompt"]["template"],
            stop=CONFIG["prompt"]["stop"],
            seed=CONFIG["seed"],
        ),
        journal="data/{run}/eval/{model}.journal",
    shell:
        "python -m scripts.job --stage evaluate --gpus {resources.gpu} --lock {output.records:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.evaluate --params {params.config:q} --model {input.model:q}"
        " --name {wildcards.model} --questions {input.questions:q} --journal {params.journal:q}"
        " --output {output.records:q} --gpus {resources.gpu} 2>&1 | tee {log:q}"
