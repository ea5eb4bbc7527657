"""Outside check: another tool's figures beside ours, EleutherAI's lm-evaluation-harness with our prompts and its own grader.

INPUTS   the models and evaluation sets of the config section `outside_check`, and evaluate's answers to them
OUTPUTS  data/{run}/outside/{set}/{model}.json; results/{run}/outside_check.md, .json
NEEDS    outside_answers: the package lm-eval (`make outside_check` makes an environment that has it), a GPU where there is one

Only the target `outside_check` asks for these.
"""


rule outside_answers:
    input:
        unpack(sealed(model=with_harness, questions=asked)),
    output:
        answers="data/{run}/outside/{set}/{model}.json",
        usage="benchmarks/{run}/outside_answers/{set}/{model}.usage.json",
    log:
        "logs/{run}/outside_answers/{set}/{model}.log",
    wildcard_constraints:
        run=re.escape(RUN),
        set="|".join(OUTSIDE_SETS) or "none",
        model="|".join(MODELS),
    conda:
        "../envs/outside.yaml"
    threads: threads_for(gpu=8, cpu=2)
    resources:
        gpu=ONE_GPU,
    params:
        code=code("outside_answers"),
        config=lambda wildcards: argument(
            read_by("outside_answers", 0, of_set(CONFIG, wildcards.set))
        ),
    shell:
        stage(
            "outside_answers",
            "--params {params.config:q}",
            "--model {input.model:q}",
            "--questions {input.questions:q}",
            "--output {output.answers:q}",
            "--gpus {resources.gpu:q}",
        )


rule outside_check:
    input:
        unpack(sealed(ours=[f"data/{RUN}/answers/{check}.jsonl" for check in OUTSIDE_CHECKS])),
        theirs=harness_answers,
    output:
        md=f"results/{RUN}/outside_check.md",
        json=f"results/{RUN}/outside_check.json",
    log:
        f"logs/{RUN}/outside_check.log",
    localrule: True
    conda:
        ENV
    params:
        code=code("outside_check"),
        config=lambda wildcards: argument(
            {
                "run": RUN,
                "checks": [
                    {"set": name, "model": model, "task": of_set(CONFIG, name)["task"]}
                    for name, model in (check.split("/") for check in OUTSIDE_CHECKS)
                ],
            }
        ),
    shell:
        stage(
            "outside_check",
            "--params {params.config:q}",
            "--ours {input.ours:q}",
            "--theirs {input.theirs:q}",
            "--md {output.md:q}",
            "--json {output.json:q}",
            usage=False,
        )
