"""Questions: from a data set on the hub, local files or the generator to three files of records.

INPUTS   what the config section `questions` names
OUTPUTS  data/{run}/train.jsonl, heldout.jsonl, eval.jsonl, questions.json (counts, source, licence, overlap)
NEEDS    CPU; network for `source: hub`
"""


rule fetch_questions:
    input:
        files=[path for key, path in plan.files_of(CONFIG) if key.startswith("questions.") and path],
    output:
        train="data/{run}/train.jsonl",
        heldout="data/{run}/heldout.jsonl",
        eval="data/{run}/eval.jsonl",
        summary="data/{run}/questions.json",
        usage="benchmarks/{run}/fetch_questions.usage.json",
    log:
        "logs/{run}/fetch_questions.log",
    wildcard_constraints:
        run=re.escape(RUN),
    conda:
        ENV
    threads: 8 if CONFIG["questions"]["variants"] else 1
    params:
        code=code(
            "fetch_questions",
            skip=[] if "synthetic" in SOURCES else ["regime_w.questions.synthetic"],
        ),
        config=part(**CONFIG["questions"]),
    shell:
        stage(
            "fetch_questions",
            "--params {params.config:q}",
            "--train {output.train:q}",
            "--heldout {output.heldout:q}",
            "--eval {output.eval:q}",
            "--summary {output.summary:q}",
        )
