"""Settings, questions and pairs of trainings of seconds."""

from helpers import template

TEMPLATE = "Question:\n{question}\nAnswer:\nLet's think step by step.\n"
PROMPTS = {"prompt": template(TEMPLATE), "styles": {"wolfram": "Be {exact}."}}
CHAT = {"format": "chat", "system": None, "style_in": "system", "template_kwargs": {}, "think_marks": "auto"}
LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", "target_parameters": []}
TRAINING = {
    "lora": LORA,
    "learning_rate": 1e-3,
    "epochs": 1.0,
    "batch_size": 4,
    "per_device_batch_size": 4,
    "warmup_ratio": 0.1,
    "scheduler": "cosine",
    "max_length": None,
    "gradient_checkpointing": False,
    "compile": False,
    "save_steps": 1,
    "gpus": "auto",
}
SFT = {
    "sft": TRAINING
    | {"adapter": None, "part": "all", "n_examples": None, "sum_exercises": 0, "styles": ["plain", "wolfram"]},
    **PROMPTS,
    "seed": 0,
    "training_seed": 0,
}
DPO = {
    "dpo": TRAINING
    | {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0], "beta": 0.1, "alarm_logps_drop": 10.0},
    **PROMPTS,
    "seed": 0,
}
QUESTIONS = [
    {
        "id": f"q{i}",
        "question": f"What is {i} + {i}?",
        "answer": f"It is {2 * i}.\n#### {2 * i}",
        "gold_answer": str(2 * i),
    }
    for i in range(12)
]
PAIRS = [
    {
        "id": row["id"],
        "prompt": "Question:\n" + row["question"] + "\nAnswer:\n",
        "chosen": row["answer"],
        "rejected": "It is 100.\n#### 100",
        "pair_type": "correctness",
    }
    for row in QUESTIONS
]
