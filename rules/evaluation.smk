"""Evaluation: base, SFT and each round on the evaluation questions, the report, and a page to read trajectories in.

INPUTS   the models, data/{run}/eval.jsonl, and what every stage recorded of itself
OUTPUTS  data/{run}/eval/{model}.jsonl; results/{run}/eval_report.html, .md, .json, config.yaml; results/{run}/trajectories.html
NEEDS    evaluate, evaluate_all: a GPU where there is one; eval_report, view_trajectories: CPU

On one GPU evaluate_all takes the place of `evaluate` for the run's own models: one job, whose engine starts once.
"""


rule evaluate:
    input:
        unpack(sealed(models=evaluated("evaluate"))),
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
            unpack(sealed(models=FOLDERS)),
            questions=f"data/{RUN}/eval.jsonl",
        output:
            records=EVALUATIONS,
            usage=f"benchmarks/{RUN}/evaluate.usage.json",
        log:
            f"logs/{RUN}/evaluate_all.log",
        params:
            code=code("evaluate"),
            config=part(**READS["evaluate"](CONFIG)),


rule view_trajectories:
    input:
        rollouts=[OWN.rollouts(number) for number in NUMBERS],
        answers=EVALUATIONS,
    output:
        html=report(
            f"results/{RUN}/trajectories.html",
            caption="captions/trajectories.rst",
            category="Evaluation",
            labels={"run": RUN, "form": "trajectories"},
        ),
    log:
        f"logs/{RUN}/view_trajectories.log",
    localrule: True
    conda:
        ENV
    params:
        code=code("view_trajectories", files=VIEWER),
        config=part(
            run=RUN,
            pairs=CONFIG["pairs"] if rounds_by("dpo") else None,
            reward=CONFIG["reward"],
            seed=CONFIG["seed"],
        ),
        inputs=lambda wildcards, input: argument(
            {
                "rollouts": by_name(ROUNDS, input.rollouts),
                "answers": {"eval": by_name(MODELS, input.answers)},
            },
            sort=False,
        ),
    shell:
        stage(
            "view_trajectories",
            "--params {params.config:q}",
            "--inputs {params.inputs:q}",
            "--output {output.html:q}",
            usage=False,
        )


rule eval_report:
    input:
        unpack(
            sealed(
                adapters=[OWN.adapter(number) for number in (0, *NUMBERS)],
                models=FOLDERS,
            )
        ),
        questions=f"data/{RUN}/questions.json",
        evaluations=EVALUATIONS,
        rollouts=[f"data/{RUN}/{name}/rollouts.jsonl" for name in ROUNDS],
        checks=[f"results/{RUN}/{name}/rollouts_check.json" for name in ROUNDS],
        preferences=[OWN.summary(number) for number in rounds_by("dpo").values()],
        samples=[OWN.summary(number) for number in rounds_by("rejection_sampling").values()],
        usage=usages(OWN),
        # Of no use to the report: who asks for it gets both.
        viewer=f"results/{RUN}/trajectories.html",
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
        inputs=lambda wildcards, input: argument(
            {
                "questions": input.questions,
                "evaluations": by_name(MODELS, input.evaluations),
                "rollouts": by_name(ROUNDS, input.rollouts),
                "preferences": by_name(rounds_by("dpo"), input.preferences),
                "samples": by_name(rounds_by("rejection_sampling"), input.samples),
                "adapters": by_name(OWN.models, input.adapters),
                "models": by_name(MODELS, input.models),
                "usage": list(input.usage),
            },
            sort=False,
        ),
    shell:
        stage(
            "eval_report",
            "--params {params.config:q}",
            "--config {params.merged_config:q}",
            "--inputs {params.inputs:q}",
            "--html {output.html:q}",
            "--md {output.md:q}",
            "--json {output.json:q}",
            "--config-output {output.config:q}",
            usage=False,
        )
