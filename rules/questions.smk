"""Questions: from data sets on the hub, local files or the generator to a file for each use of them.

INPUTS   what the config section `questions` names
OUTPUTS  data/{run}/questions/: eval/{set}.jsonl for each evaluation set; sft.jsonl, round{round}.jsonl, heldout.jsonl, the
         parts of train.jsonl; summary.json (counts, sources, licences, overlap), which the reports read
NEEDS    CPU; network for `source: hub`

Evaluation sets are fetched one by one, apart from training questions. Those that stand in evaluation are dropped when
training questions are fetched; a set that comes later retrains nothing, so that file is ancient to them, and check_questions
names what the two share.
"""

TRAIN = plan.train_sources(CONFIG)
WITHOUT_GENERATOR = ["regime_w.questions.synthetic"]


rule fetch_evaluation:
    input:
        files=lambda wildcards: [
            local(file) for file in plan.inputs_of({wildcards.set: EVAL[wildcards.set]})
        ],
    output:
        questions="data/{run}/questions/eval/{set}.jsonl",
        seal="data/{run}/questions/eval/{set}.jsonl.seal",
        summary="data/{run}/questions/eval/{set}.json",
        usage="benchmarks/{run}/fetch_evaluation/{set}.usage.json",
    log:
        "logs/{run}/fetch_evaluation/{set}.log",
    wildcard_constraints:
        run=re.escape(RUN),
        set="|".join(SETS),
    conda:
        ENV
    params:
        code=lambda wildcards: code(
            "fetch_evaluation",
            skip=([] if EVAL[wildcards.set]["source"] == "synthetic" else WITHOUT_GENERATOR),
        )(wildcards),
        config=lambda wildcards: argument(
            {
                "set": wildcards.set,
                "source": {
                    key: value for key, value in EVAL[wildcards.set].items() if key not in OF_SET
                },
                "task": of_set(CONFIG, wildcards.set)["task"],
            }
        ),
    shell:
        stage(
            "fetch_evaluation",
            "--params {params.config:q}",
            "--output {output.questions:q}",
            "--summary {output.summary:q}",
        )


rule join_evaluation:
    input:
        unpack(sealed(sets=[f"data/{RUN}/questions/eval/{name}.jsonl" for name in SETS])),
    output:
        questions=f"data/{RUN}/questions/evaluation.jsonl",
        seal=f"data/{RUN}/questions/evaluation.jsonl.seal",
    log:
        f"logs/{RUN}/join_evaluation.log",
    localrule: True
    conda:
        ENV
    params:
        code=code("join_evaluation"),
    shell:
        stage(
            "join_evaluation",
            "--sets {input.sets:q}",
            "--output {output.questions:q}",
            usage=False,
        )


rule fetch_questions:
    input:
        files=[local(file) for file in plan.inputs_of(TRAIN)],
        evaluation=ancient(f"data/{RUN}/questions/evaluation.jsonl"),
        seal=ancient(f"data/{RUN}/questions/evaluation.jsonl.seal"),
    output:
        train="data/{run}/questions/train.jsonl",
        heldout="data/{run}/questions/heldout.jsonl",
        seals=[
            "data/{run}/questions/train.jsonl.seal",
            "data/{run}/questions/heldout.jsonl.seal",
        ],
        summary="data/{run}/questions/train.json",
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
            skip=[] if "synthetic" in plan.kinds_of(TRAIN) else WITHOUT_GENERATOR,
        ),
        config=part(
            **{key: value for key, value in CONFIG["questions"].items() if key != "eval"}
            | {"train": list(TRAIN.values())},
            task=CONFIG["task"],
        ),
    shell:
        stage(
            "fetch_questions",
            "--params {params.config:q}",
            "--gold {params.code.gold:q}",
            "--evaluation {input.evaluation:q}",
            "--train {output.train:q}",
            "--heldout {output.heldout:q}",
            "--summary {output.summary:q}",
        )


rule split_questions:
    input:
        unpack(sealed(questions=f"data/{RUN}/questions/train.jsonl")),
    output:
        questions="data/{run}/questions/{part}.jsonl",
        seal="data/{run}/questions/{part}.jsonl.seal",
    log:
        "logs/{run}/split_questions/{part}.log",
    wildcard_constraints:
        part=r"sft|round[1-9][0-9]*",
    localrule: True
    conda:
        ENV
    params:
        code=code("split_questions"),
        config=reads("split_questions"),
    shell:
        stage(
            "split_questions",
            "--params {params.config:q}",
            "--questions {input.questions:q}",
            "--output {output.questions:q}",
            usage=False,
        )


rule check_questions:
    input:
        unpack(
            sealed(
                sets=[f"data/{RUN}/questions/eval/{name}.jsonl" for name in SETS],
                train=[f"data/{RUN}/questions/train.jsonl"] if LEARNS else [],
                heldout=[f"data/{RUN}/questions/heldout.jsonl"] if LEARNS else [],
                parts=OWN.parts(),
            )
        ),
        set_summaries=[f"data/{RUN}/questions/eval/{name}.json" for name in SETS],
        train_summary=[f"data/{RUN}/questions/train.json"] if LEARNS else [],
        given=OWN.given(),
    output:
        summary=f"data/{RUN}/questions/summary.json",
    log:
        f"logs/{RUN}/check_questions.log",
    localrule: True
    conda:
        ENV
    params:
        code=code("check_questions"),
        config=part(
            **{key: CONFIG["questions"][key] for key in ("overlap_ngram", "overlap_drop")},
            sft_known=OWN.sft and not CONFIG["sft"]["adapter"],
        ),
    shell:
        stage(
            "check_questions",
            "--params {params.config:q}",
            "--sets {input.sets:q}",
            "--set-summaries {input.set_summaries:q}",
            "--train {input.train:q}",
            "--heldout {input.heldout:q}",
            "--train-summary {input.train_summary:q}",
            "--parts {input.parts:q}",
            "--given {input.given:q}",
            "--output {output.summary:q}",
            usage=False,
        )
