"""Evaluation: base, SFT and each round on every evaluation set, and the report.

INPUTS   the models' manifests, data/{run}/questions/eval/{set}.jsonl, and what every stage recorded of itself
OUTPUTS  data/{run}/answers/{set}/{model}.jsonl; results/{run}/eval_report.html, .md, .json, config.yaml
NEEDS    evaluate, evaluate_all: a GPU where there is one; eval_report: CPU

A study's held-out questions are asked as one more set, `heldout`. On one GPU evaluate_all takes the place of `evaluate`
for the run's own models on an evaluation set: one job, whose engine starts once.
"""


rule evaluate:
    input:
        models=evaluated,
        questions=asked,
    output:
        records="data/{run}/answers/{set}/{model}.jsonl",
        usage="benchmarks/{run}/evaluate/{set}/{model}.usage.json",
    log:
        "logs/{run}/evaluate/{set}/{model}.log",
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
            models=list(MODELS.values()),
            questions=asked,
        output:
            records=[f"data/{RUN}/answers/{{set}}/{model}.jsonl" for model in MODELS],
            usage=f"benchmarks/{RUN}/evaluate/{{set}}.usage.json",
        log:
            f"logs/{RUN}/evaluate/{{set}}.log",
        wildcard_constraints:
            set="|".join(SETS),
        params:
            code=code("evaluate"),
            config=lambda wildcards: argument(read_by("evaluate", 0, of_set(CONFIG, wildcards.set))),


rule eval_report:
    input:
        questions=f"data/{RUN}/questions/summary.json",
        evaluations=[
            f"data/{RUN}/answers/{name}/{model}.jsonl" for name in SETS for model in MODELS
        ],
        rollouts=[OWN.rollouts(number) for number in OWN.sampled],
        checks=[OWN.check(number) for number in OWN.sampled],
        preferences=[OWN.summary(number) for number in rounds_by("dpo")],
        samples=[OWN.summary(number) for number in rounds_by("rejection_sampling")],
        adapters=[OWN.adapter(number) for number in TRAINED],
        models=list(MODELS.values()),
        usage=usages(OWN, SETS),
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
            temperature=CONFIG["evaluate"]["temperature"],
        ),
        # Without what makes nothing in this run: another recipe in a study, or sharing a GPU, makes no new report.
        merged_config=lambda wildcards: argument(
            {key: value for key, value in CONFIG.items() if key != "resources"} | {"study": None},
            sort=False,
        ),
        evaluations=lambda wildcards, input: named(
            [f"{name}/{model}" for name in SETS for model in MODELS], input.evaluations
        ),
        rollouts=lambda wildcards, input: named(
            [f"round{number}" for number in OWN.sampled], input.rollouts
        ),
        preferences=lambda wildcards, input: named(
            [f"round{number}" for number in rounds_by("dpo")], input.preferences
        ),
        samples=lambda wildcards, input: named(
            [f"round{number}" for number in rounds_by("rejection_sampling")], input.samples
        ),
        training=lambda wildcards, input: training_records(
            [OWN.called(number) for number in TRAINED], input.adapters
        ),
        manifests=lambda wildcards, input: named(MODELS, input.models),
        usage=lambda wildcards: usages(OWN, SETS, short=True),
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
