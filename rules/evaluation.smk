"""Evaluation: base, SFT and each round on every evaluation set, the report, and a page to read trajectories in.

INPUTS   the models, data/{run}/questions/eval/{set}.jsonl, and what every stage recorded of itself
OUTPUTS  data/{run}/answers/{set}/{model}.jsonl; results/{run}/eval_report.html, .md, .json, config.yaml; results/{run}/trajectories.html
NEEDS    evaluate, evaluate_all: a GPU where there is one; eval_report, view_trajectories: CPU

A study's held-out questions are asked as one more set, `heldout`. On one GPU evaluate_all takes the place of `evaluate`
for the run's own models on an evaluation set: one job, whose engine starts once.
"""


rule evaluate:
    input:
        unpack(sealed(models=evaluated, questions=asked)),
        verifier=verifier_of_set,
    output:
        records="data/{run}/answers/{set}/{model}.jsonl",
        seal="data/{run}/answers/{set}/{model}.jsonl.seal",
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
            unpack(sealed(models=list(MODELS.values()), questions=asked)),
            verifier=verifier_of_set,
        output:
            records=[f"data/{RUN}/answers/{{set}}/{model}.jsonl" for model in MODELS],
            seal=[f"data/{RUN}/answers/{{set}}/{model}.jsonl.seal" for model in MODELS],
            usage=f"benchmarks/{RUN}/evaluate/{{set}}.usage.json",
        log:
            f"logs/{RUN}/evaluate/{{set}}.log",
        wildcard_constraints:
            set="|".join(SETS),
        params:
            code=code("evaluate"),
            config=lambda wildcards: argument(read_by("evaluate", 0, of_set(CONFIG, wildcards.set))),


rule view_trajectories:
    input:
        unpack(sealed(rollouts=[OWN.rollouts(number) for number in OWN.sampled], answers=ANSWERS)),
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
                "rollouts": by_name([f"round{number}" for number in OWN.sampled], input.rollouts),
                "answers": answers_by_set(input.answers),
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
                adapters=[OWN.adapter(number) for number in TRAINED],
                models=list(MODELS.values()),
                evaluations=ANSWERS,
                rollouts=[OWN.rollouts(number) for number in OWN.sampled],
            )
        ),
        questions=f"data/{RUN}/questions/summary.json",
        checks=[OWN.check(number) for number in OWN.sampled],
        preferences=[OWN.summary(number) for number in rounds_by("dpo").values()],
        samples=[OWN.summary(number) for number in rounds_by("rejection_sampling").values()],
        # Gold is read here, where nothing is trained on it.
        labels=LABEL_CHECKS,
        usage=usages(OWN, SETS),
        # Its texts are of no use to the report, which names it.
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
            temperature=CONFIG["evaluate"]["temperature"],
            coherence=CONFIG["coherence"],
        ),
        # Without what makes nothing in this run: another recipe in a study, or sharing a GPU, makes no new report.
        merged_config=lambda wildcards: argument(
            that_makes(CONFIG) | {"study": None},
            sort=False,
        ),
        tracking=tracked("eval_report"),
        inputs=lambda wildcards, input: argument(
            {
                "questions": input.questions,
                "evaluations": answers_by_set(input.evaluations),
                "rollouts": by_name([f"round{number}" for number in OWN.sampled], input.rollouts),
                "preferences": by_name(rounds_by("dpo"), input.preferences),
                "samples": by_name(rounds_by("rejection_sampling"), input.samples),
                **(
                    {"labels": by_name([f"round{number}" for number in OWN.sampled], input.labels)}
                    if LABEL_CHECKS
                    else {}
                ),
                "adapters": by_name([OWN.called(number) for number in TRAINED], input.adapters),
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
            "--viewer {input.viewer:q}",
            "--readings results/.readings",
            "--html {output.html:q}",
            "--md {output.md:q}",
            "--json {output.json:q}",
            "--config-output {output.config:q}",
            "--tracking {params.tracking:q}",
            usage=False,
        )
