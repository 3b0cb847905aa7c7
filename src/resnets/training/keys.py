"""What each key of a recipe means: shown beside its value in every run's recipe.toml, and in docs/guides/recipes.md."""

from __future__ import annotations

KEYS = {
    "epochs": "how often every image is seen; with probe 0: the head alone",
    "min_steps": "small sets are gone over until so many steps are made; the parameter `epochs` switches it off",
    "batch_size": "images in a step",
    "accumulate": "gradient accumulation: parts that a batch goes through the network in, one after another; doubled "
    "where memory runs out. Norms see a part at a time",
    "recompute": "activation checkpointing: keep little of the forward pass, and make it again in the backward pass, "
    "which changes no number; switched on where memory runs out",
    "optimiser": "sgd; or muon: each convolution moves by a share of its own norm, in its gradient's direction made "
    "orthogonal (Jordan 2024); norms, biases and head move by sgd, 4 times as fast",
    "learning_rate": "the highest rate; with muon the share of its norm that a weight moves by in a step",
    "momentum": "share of the last step's direction that is kept",
    "nesterov": "Nesterov's form of it",
    "weight_decay": "per step, times the rate; not of what muon moves",
    "decay_everything": "decay norms and biases too, as the papers did",
    "schedule": "cosine: to zero; steps: down at the milestones",
    "milestones": "shares of the training, for steps",
    "decay_factor": "what the rate is multiplied by at a milestone",
    "warmup_epochs": "the rate rises from zero over these. A 110-layer network needs it with sgd (the paper warms it "
    "up too)",
    "label_smoothing": "share of the target given to all classes alike",
    "ema": "decay of the running average of the weights, which is then what is evaluated and saved; 0: none",
    "image_size": "pixels; 0: decided by the data",
    "fit": "how a picture of any shape becomes a square: crop (its middle), pad (all of it, with a margin in the mean "
    "colour), squash (all of it, stretched); auto: as the weights to start from say it, else crop",
    "start_size": "training begins at this share of the size and grows to it over the first 70 % of the epochs "
    "(Howard 2018); 1: never",
    "crop": "resized: a random part, stretched (Szegedy 2014); shift: moved by a few pixels (He 2015); none; auto: "
    "shift up to 64 pixels, else resized",
    "min_area": "the smallest part that a resized crop may take",
    "shift": "pixels at 32 pixels and above, fewer below",
    "flip": "mirror every second image; wrong for digits, letters, and anything with a left and a right",
    "trivial_augment": "one random operation an image (Mueller 2021)",
    "mixup": "above 0: blend images in pairs, shares drawn from Beta(mixup, mixup) (Zhang 2017)",
    "class_weights": "balanced: in the loss every class weighs the same, however many images it has",
    "sampler": "balanced: every class is drawn equally often, its images repeated, each time augmented otherwise",
    "logit_adjustment": "so many times the log of each class's share is added to the logits in training, and left away "
    "afterwards (Menon 2021, with 1)",
    "mean": "what is subtracted: imagenet: its channel means; pixel: the training set's mean image (He 2015)",
    "precision": "float32, bfloat16, or auto: bfloat16 where the processor computes in it",
    "zero_init_last": "start every unit as its shortcut, where the network has shortcuts",
    "probe": "from a trained body: the new head is a logistic regression on what the body sees, fitted before the "
    "first step",
    "pays": "with probe: more than the head trains only where the head would answer so many held-out images wrongly, "
    "since a gain on fewer cannot be told from chance; 0: always, as with the parameter `epochs`",
    "head_epochs": "from a trained body: epochs that train the new head alone, before everything trains",
    "freeze": "from a trained body: so many stages, and the stem, stay as they are",
    "norms": "batch: a norm takes the statistics of its batch; frozen: those that the body came with",
    "lower_rates": "each stage further from the head learns at this share of the rate above it",
    "evaluate_every": "epochs between looks at the held-out images",
    "patience": "the training ends when so many of these looks in a row found no smaller loss on the half of the "
    "held-out images that chooses; 0: it does not",
    "keep": "last: the weights at the end; best: those of the least loss on one half of the held-out images are kept "
    "aside, and taken where the other half finds them better beyond chance",
    "checkpoint_seconds": "a checkpoint at least this often, and after each epoch; 0: after each step",
    "workers": "threads that read batches ahead; the result does not depend on it",
    "depth": "how deep the class folders lie; 2: photos/animals/cat are of the class cat",
    "ignore": "patterns of paths that are left out, with commas between: *.gif, thumbs",
    "columns": "of a table with labels: image=photo label=species split=part",
}
