"""Evaluation: base, SFT and each round on the evaluation questions, and the report.

INPUTS   the models' manifests, data/{run}/eval.jsonl, and what every stage recorded of itself
OUTPUTS  data/{run}/eval/{model}.jsonl; results/{run}/eval_report.html, .md, .json, config.yaml
NEEDS    evaluate, evaluate_all: a GPU where there is one; eval_report: CPU

On one GPU evaluate_all takes the place of `evaluate` for the run's own models: one job, whose engine starts once.
"""


rule evaluate:
    input:
        code=code("evaluate"),
        verifier=VERIFIER,
        models=evaluated("evaluate"),
        questions=f"data/{RUN}/eval.jsonl",
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
        gpu=ENGINE_GPUS,
    params:
        config=reads("evaluate"),
    shell:
        "python -m regime_w.runtime.job --stage evaluate --gpus {resources.gpu:q} --lock {output.usage:q}"
        " --usage {output.usage:q} --"
        " python -m scripts.evaluate --params {params.config:q} --models {input.models:q}"
        " --questions {input.questions:q} --outputs {output.records:q}"
        " --gpus {resources.gpu:q} 2>&1 | tee -i {log:q}"


if ONE_EVALUATION:

    ruleorder: evaluate_all > evaluate

    use rule evaluate as evaluate_all with:
        input:
            code=code("evaluate"),
            verifier=VERIFIER,
            models=MANIFESTS,
            questions=f"data/{RUN}/eval.jsonl",
        output:
            records=EVALUATIONS,
            usage=f"benchmarks/{RUN}/evaluate.usage.json",
        log:
            f"logs/{RUN}/evaluate_all.log",
        benchmark:
            f"benchmarks/{RUN}/evaluate_all.tsv"
        params:
            config=part(**READS["evaluate"](CONFIG)),


rule eval_report:
    input:
        code=code("eval_report"),
        templates=[
            str(path.relative_to(workflow.basedir))
            for path in sorted(Path(workflow.basedir, "regime_w/report").glob("*.j2"))
        ],
        questions=f"data/{RUN}/questions.json",
        evaluations=EVALUATIONS,
        rollouts=[f"data/{RUN}/{name}/rollouts.jsonl" for name in ROUNDS],
        checks=[f"results/{RUN}/{name}/rollouts_check.json" for name in ROUNDS],
        preferences=[OWN.summary(number) for number in rounds_by("dpo")],
        samples=[OWN.summary(number) for number in rounds_by("rejection_sampling")],
        adapters=[OWN.adapter(number) for number in (0, *NUMBERS)],
        models=MANIFESTS,
        usage=usages(OWN),
    output:
        html=report(
            f"results/{RUN}/eval_report.html",
            caption="captions/eval_report.rst",
            category="Evaluation",
            labels={"run": RUN, "form": "page"},
        ),
        md=f"results/{RUN}/eval_report.md",
        json=f"results/{RUN}/eval_report.json",
        config=f"results/{RUN}/config.yaml",
    log:
        f"logs/{RUN}/eval_report.log",
    benchmark:
        f"benchmarks/{RUN}/eval_report.tsv"
    localrule: True
    conda:
        ENV
    params:
        config=part(
            **CONFIG["report"],
            run=RUN,
            rounds=CONFIG["rounds"],
            seed=CONFIG["seed"],
            k=CONFIG["evaluate"]["k"],
            temperature=CONFIG["evaluate"]["temperature"],
        ),
        # Of no use to the run itself: another recipe in a study makes no new report.
        merged_config=lambda wildcards: json.dumps(CONFIG | {"study": None}),
        evaluations=lambda wildcards, input: named(MODELS, input.evaluations),
        rollouts=lambda wildcards, input: named(ROUNDS, input.rollouts),
        preferences=lambda wildcards, input: named(
            [f"round{number}" for number in rounds_by("dpo")], input.preferences
        ),
        samples=lambda wildcards, input: named(
            [f"round{number}" for number in rounds_by("rejection_sampling")], input.samples
        ),
        training=lambda wildcards, input: training_records(OWN.models, input.adapters),
        manifests=lambda wildcards, input: named(MODELS, input.models),
        usage=lambda wildcards: usages(OWN, short=True),
    shell:
        "python -m scripts.eval_report --params {params.config:q} --config {params.merged_config:q}"
        " --questions {input.questions:q} --evaluations {params.evaluations:q}"
        " --rollouts {params.rollouts:q} --preferences {params.preferences:q}"
        " --samples {params.samples:q} --training {params.training:q} --manifests {params.manifests:q} --usage {params.usage:q}"
        " --html {output.html:q} --md {output.md:q} --json {output.json:q}"
        " --config-output {output.config:q} 2>&1 | tee -i {log:q}"
