"""Evaluation: base, SFT and each round on the evaluation questions, and the report.

INPUTS   the models' manifests, data/{run}/eval.jsonl, and what every stage recorded of itself
OUTPUTS  data/{run}/eval/{model}.jsonl; results/{run}/eval_report.html, .md, .json, config.yaml
NEEDS    evaluate, evaluate_all: a GPU where there is one; eval_report: CPU

On one GPU evaluate_all takes the place of `evaluate` for the run's own models: one job, whose engine starts once.
"""


rule evaluate:
    input:
        models=evaluated("evaluate"),
        questions=f"data/{RUN}/eval.jsonl",
    output:
        records="data/{run}/eval/{model}.jsonl",
        usage="benchmarks/{run}/evaluate/{model}.usage.json",
    log:
        "logs/{run}/evaluate/{model}.log",
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=ENGINE_GPUS,
    params:
        code=code("evaluate"),
        config=reads("evaluate"),
    shell:
        stage(
            "evaluate",
            "--params {params.config:q}",
            "--models {input.models:q}",
            "--questions {input.questions:q}",
            "--outputs {output.records:q}",
            "--gpus {resources.gpu:q}",
            SHARING,
        )


if ONE_EVALUATION:

    ruleorder: evaluate_all > evaluate

    use rule evaluate as evaluate_all with:
        input:
            models=MANIFESTS,
            questions=f"data/{RUN}/eval.jsonl",
        output:
            records=EVALUATIONS,
            usage=f"benchmarks/{RUN}/evaluate.usage.json",
        log:
            f"logs/{RUN}/evaluate_all.log",
        params:
            code=code("evaluate"),
            config=part(**READS["evaluate"](CONFIG)),


rule eval_report:
    input:
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
    localrule: True
    conda:
        ENV
    params:
        code=code("eval_report", files=TEMPLATES),
        config=part(
            **CONFIG["report"],
            run=RUN,
            rounds=CONFIG["rounds"],
            seed=CONFIG["seed"],
            k=CONFIG["evaluate"]["k"],
            temperature=CONFIG["evaluate"]["temperature"],
        ),
        # Without what makes nothing in this run: another recipe in a study, or sharing a GPU, makes no new report.
        merged_config=lambda wildcards: argument(
            {key: value for key, value in CONFIG.items() if key != "resources"} | {"study": None},
            sort=False,
        ),
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
        stage(
            "eval_report",
            "--params {params.config:q}",
            "--config {params.merged_config:q}",
            "--questions {input.questions:q}",
            "--evaluations {params.evaluations:q}",
            "--rollouts {params.rollouts:q}",
            "--preferences {params.preferences:q}",
            "--samples {params.samples:q}",
            "--training {params.training:q}",
            "--manifests {params.manifests:q}",
            "--usage {params.usage:q}",
            "--html {output.html:q}",
            "--md {output.md:q}",
            "--json {output.json:q}",
            "--config-output {output.config:q}",
            usage=False,
        )
