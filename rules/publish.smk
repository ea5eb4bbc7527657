"""Publish: the chosen model, its adapters, the report and what it was trained on, on the Hugging Face hub.

INPUTS   the models and adapters from the base to the chosen one, the report, its answers, the rounds' pairs or samples
OUTPUTS  results/{run}/published.json: commits and hashes; three repositories on the hub
NEEDS    CPU, a network, a token (HF_TOKEN, or `hf auth login`); made only when it is asked for: snakemake publish
"""

# The round whose model is published; 0 is SFT.
LAST = number_of(CONFIG["publish"]["model"]) if CONFIG["publish"]["model"] else OWN.rounds
SENT = [number for number in TRAINED if number <= LAST]
SENT_ROUNDS = [number for number in SENT if number]


rule publish:
    input:
        unpack(
            sealed(
                adapters=[OWN.adapter(number) for number in SENT],
                models=list(dict.fromkeys([BASE, *(OWN.model(number) for number in SENT)])),
                examples=[OWN.examples(number) for number in SENT_ROUNDS],
                evaluations=ANSWERS,
            )
        ),
        report=rules.eval_report.output,
        asked=asked_to_publish,
    output:
        record=f"results/{RUN}/published.json",
    log:
        f"logs/{RUN}/publish.log",
    # Nodes of a cluster may have no way to the hub.
    localrule: True
    conda:
        ENV
    params:
        code=code("publish"),
        config=lambda wildcards: argument(
            CONFIG["publish"]
            | {
                "asked": {
                    OWN.called(number): (
                        None
                        if not number and CONFIG["sft"]["adapter"]
                        else read_by(trained_by(OWN, number), number, CONFIG)
                    )
                    for number in SENT
                }
            }
        ),
        card=lambda wildcards: argument(lineage(OWN, LAST)),
        merged_config=lambda wildcards: argument(that_makes(CONFIG) | {"study": None}),
        inputs=lambda wildcards, input: argument(
            {
                "models": by_name(["base", *map(OWN.called, SENT)], input.models),
                "adapters": by_name(map(OWN.called, SENT), input.adapters),
                "examples": by_name(map(OWN.called, SENT_ROUNDS), input.examples),
                "evaluations": answers_by_set(input.evaluations),
                "report": by_name(["html", "md", "json", "config"], input.report),
            },
            sort=False,
        ),
    shell:
        stage(
            "publish",
            "--params {params.config:q}",
            "--card {params.card:q}",
            "--config {params.merged_config:q}",
            "--inputs {params.inputs:q}",
            "--output {output.record:q}",
            usage=False,
        )
