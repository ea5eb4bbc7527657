"""Study: recipes, each an overlay over the run's config, ranked on held-out training questions.

INPUTS   the config section `study`; every stage of the recipes is made by the other files' rules (regime_w/config/recipes.py)
OUTPUTS  data/{run}/answers/heldout/{model}.jsonl; results/{run}/study/{recipe}.json, study_choice.json; study_report.html, .md, .json
NEEDS    evaluate: a GPU where there is one; the others: CPU

The evaluation questions are read for the baselines and the chosen recipe alone, once it is chosen; on one GPU
evaluate_all answers them for the run's other models too, which nothing here reads.
"""

STUDY = CONFIG["study"]
REFERENCE = RECIPES[STUDY["reference"]]


rule study_recipe:
    input:
        unpack(
            sealed(
                adapters=lambda wildcards: [
                    RECIPES[wildcards.recipe].adapter(number)
                    for number in RECIPES[wildcards.recipe].numbers
                ],
                evaluations=lambda wildcards: [
                    RECIPES[wildcards.recipe].answers(number, HELD_OUT)
                    for number in (0, *RECIPES[wildcards.recipe].numbers)
                ],
            )
        ),
        examples=lambda wildcards: [
            RECIPES[wildcards.recipe].summary(number)
            for number in RECIPES[wildcards.recipe].numbers
        ],
        usage=lambda wildcards: usages(RECIPES[wildcards.recipe], [HELD_OUT]),
    output:
        record=f"results/{RUN}/study/{{recipe}}.json",
    log:
        f"logs/{RUN}/study_recipe/{{recipe}}.log",
    wildcard_constraints:
        recipe="|".join(map(re.escape, RECIPES)),
    localrule: True
    conda:
        ENV
    params:
        code=code("study_recipe"),
        config=lambda wildcards: argument(
            {
                "recipe": RECIPES[wildcards.recipe].of,
                "seed_number": RECIPES[wildcards.recipe].seed,
                "overlay": STUDY["recipes"][RECIPES[wildcards.recipe].of] or {},
                "method": RECIPES[wildcards.recipe].config["method"],
                "level": CONFIG["report"]["level"],
                "n_boot": CONFIG["report"]["n_boot"],
                "seed": CONFIG["seed"],
            }
        ),
        inputs=lambda wildcards, input: argument(
            {
                "evaluations": by_name(RECIPES[wildcards.recipe].models, input.evaluations),
                "adapters": by_name(
                    RECIPES[wildcards.recipe].models[1:], input.get("adapters", [])
                ),
                "examples": by_name(
                    RECIPES[wildcards.recipe].models[1:], input.get("examples", [])
                ),
                "usage": list(input.usage),
            },
            sort=False,
        ),
    shell:
        stage(
            "study_recipe",
            "--params {params.config:q}",
            "--inputs {params.inputs:q}",
            "--output {output.record:q}",
            usage=False,
        )


checkpoint choose_recipe:
    input:
        recipes=[f"results/{RUN}/study/{recipe}.json" for recipe in RECIPES],
    output:
        choice=f"results/{RUN}/study_choice.json",
    log:
        f"logs/{RUN}/choose_recipe.log",
    localrule: True
    conda:
        ENV
    params:
        code=code("choose_recipe"),
        config=part(chosen=STUDY["chosen"]),
    shell:
        stage(
            "choose_recipe",
            "--params {params.config:q}",
            "--recipes {input.recipes:q}",
            "--output {output.choice:q}",
            usage=False,
        )


rule study_report:
    input:
        unpack(
            sealed(
                evaluations=lambda wildcards: list(read_on_eval().values()),
                rollouts=[REFERENCE.rollouts(number) for number in REFERENCE.sampled],
            )
        ),
        questions=f"data/{RUN}/questions/summary.json",
        recipes=[f"results/{RUN}/study/{recipe}.json" for recipe in RECIPES],
        choice=f"results/{RUN}/study_choice.json",
    output:
        html=report(
            f"results/{RUN}/study_report.html",
            caption="captions/study_report.rst",
            category="Study",
            labels={"run": RUN, "form": "page"},
        ),
        md=f"results/{RUN}/study_report.md",
        json=f"results/{RUN}/study_report.json",
    log:
        f"logs/{RUN}/study_report.log",
    localrule: True
    conda:
        ENV
    params:
        code=code("study_report", files=TEMPLATES),
        config=part(
            **{key: CONFIG["report"][key] for key in ("level", "gpu_hour_usd")},
            **{key: STUDY[key] for key in ("baselines", "reference", "n_boot")},
            run=RUN,
            seed=CONFIG["seed"],
            temperature=CONFIG["evaluate"]["temperature"],
        ),
        merged_config=lambda wildcards: argument(that_makes(CONFIG), sort=False),
        inputs=lambda wildcards, input: argument(
            {
                "questions": input.questions,
                "recipes": list(input.recipes),
                "choice": input.choice,
                "evaluations": by_set(read_on_eval(), input.evaluations),
                "rollouts": by_name(
                    [f"round{number}" for number in REFERENCE.sampled], input.rollouts
                ),
            },
            sort=False,
        ),
    shell:
        stage(
            "study_report",
            "--params {params.config:q}",
            "--config {params.merged_config:q}",
            "--inputs {params.inputs:q}",
            "--readings results/.readings",
            "--html {output.html:q}",
            "--md {output.md:q}",
            "--json {output.json:q}",
            usage=False,
        )
