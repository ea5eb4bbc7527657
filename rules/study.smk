"""Study: recipes, each an overlay over the run's config, ranked on held-out training questions.

INPUTS   the config section `study`; every stage of the recipes is made by the other files' rules (regime_w/config/recipes.py)
OUTPUTS  data/{run}/heldout/{model}.jsonl; results/{run}/study/{recipe}.json, study_choice.json; study_report.html, .md, .json
NEEDS    evaluate_heldout: a GPU where there is one; the others: CPU

The evaluation questions are read for the baselines and the chosen recipe alone, once it is chosen; on one GPU
evaluate_all answers them for the run's other models too, which nothing here reads.
"""

STUDY = CONFIG["study"]
REFERENCE = RECIPES[STUDY["reference"]]


use rule evaluate as evaluate_heldout with:
    input:
        code=code("evaluate"),
        verifier=VERIFIER,
        models=evaluated("evaluate_heldout"),
        questions=f"data/{RUN}/heldout.jsonl",
    output:
        records="data/{run}/heldout/{model}.jsonl",
        usage="benchmarks/{run}/evaluate_heldout/{model}.usage.json",
    log:
        "logs/{run}/evaluate_heldout/{model}.log",
    benchmark:
        "benchmarks/{run}/evaluate_heldout/{model}.tsv"
    params:
        config=reads("evaluate_heldout"),


rule study_recipe:
    input:
        code=code("study_recipe"),
        evaluations=lambda wildcards: [
            RECIPES[wildcards.recipe].evaluation(number, "heldout")
            for number in (0, *RECIPES[wildcards.recipe].numbers)
        ],
        adapters=lambda wildcards: [
            RECIPES[wildcards.recipe].adapter(number)
            for number in RECIPES[wildcards.recipe].numbers
        ],
        examples=lambda wildcards: [
            RECIPES[wildcards.recipe].summary(number)
            for number in RECIPES[wildcards.recipe].numbers
        ],
        usage=lambda wildcards: usages(RECIPES[wildcards.recipe], "heldout"),
    output:
        record=f"results/{RUN}/study/{{recipe}}.json",
    log:
        f"logs/{RUN}/study_recipe/{{recipe}}.log",
    benchmark:
        f"benchmarks/{RUN}/study_recipe/{{recipe}}.tsv"
    wildcard_constraints:
        recipe="|".join(RECIPES),
    localrule: True
    conda:
        ENV
    params:
        config=lambda wildcards: json.dumps(
            {
                "recipe": wildcards.recipe,
                "overlay": STUDY["recipes"][wildcards.recipe] or {},
                "method": RECIPES[wildcards.recipe].config["method"],
                "level": CONFIG["report"]["level"],
                "n_boot": CONFIG["report"]["n_boot"],
                "seed": CONFIG["seed"],
            }
        ),
        evaluations=lambda wildcards, input: named(
            RECIPES[wildcards.recipe].models, input.evaluations
        ),
        training=lambda wildcards, input: training_records(
            RECIPES[wildcards.recipe].models[1:], input.adapters
        ),
        examples=lambda wildcards, input: named(
            RECIPES[wildcards.recipe].models[1:], input.examples
        ),
    shell:
        "python -m scripts.study_recipe --params {params.config:q}"
        " --evaluations {params.evaluations:q} --training {params.training:q}"
        " --examples {params.examples:q} --usage {input.usage:q} --output {output.record:q}"
        " 2>&1 | tee -i {log:q}"


checkpoint choose_recipe:
    input:
        code=code("choose_recipe"),
        recipes=[f"results/{RUN}/study/{recipe}.json" for recipe in RECIPES],
    output:
        choice=f"results/{RUN}/study_choice.json",
    log:
        f"logs/{RUN}/choose_recipe.log",
    benchmark:
        f"benchmarks/{RUN}/choose_recipe.tsv"
    localrule: True
    conda:
        ENV
    params:
        config=part(chosen=STUDY["chosen"]),
    shell:
        "python -m scripts.choose_recipe --params {params.config:q} --recipes {input.recipes:q}"
        " --output {output.choice:q} 2>&1 | tee -i {log:q}"


rule study_report:
    input:
        code=code("study_report"),
        templates=rules.eval_report.input.templates,
        questions=f"data/{RUN}/questions.json",
        recipes=[f"results/{RUN}/study/{recipe}.json" for recipe in RECIPES],
        choice=f"results/{RUN}/study_choice.json",
        evaluations=lambda wildcards: list(read_on_eval().values()),
        rollouts=[REFERENCE.rollouts(number) for number in REFERENCE.numbers],
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
    benchmark:
        f"benchmarks/{RUN}/study_report.tsv"
    localrule: True
    conda:
        ENV
    params:
        config=part(
            **{key: CONFIG["report"][key] for key in ("level", "gpu_hour_usd")},
            **{key: STUDY[key] for key in ("baselines", "reference", "n_boot")},
            run=RUN,
            seed=CONFIG["seed"],
            temperature=CONFIG["evaluate"]["temperature"],
        ),
        merged_config=lambda wildcards: json.dumps(CONFIG),
        evaluations=lambda wildcards, input: named(read_on_eval(), input.evaluations),
        rollouts=lambda wildcards, input: named(REFERENCE.models[1:], input.rollouts),
    shell:
        "python -m scripts.study_report --params {params.config:q}"
        " --config {params.merged_config:q} --questions {input.questions:q}"
        " --recipes {input.recipes:q} --choice {input.choice:q}"
        " --evaluations {params.evaluations:q} --rollouts {params.rollouts:q}"
        " --html {output.html:q} --md {output.md:q} --json {output.json:q} 2>&1 | tee -i {log:q}"
