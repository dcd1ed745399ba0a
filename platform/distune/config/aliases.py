"""Names that other libraries use for a setting, for the hint about an unknown setting. They are not accepted.

The names are those of Ultralytics, mmdetection, Lightning and timm, in lower case, as they stand in files and options.
"""

from __future__ import annotations

_OPTIMIZER = "training.optimizer."
_LEARNING_RATE = f"{_OPTIMIZER}learning_rate"
_IMAGE_SIZE = "data.min_size_px and data.max_size_px"
_GPUS = "resources.gpus_per_trial"
_PRECISION = "training.precision"
_CLIP = "training.gradient_clip_norm"
_SCHEDULE = "training.schedule.kind"
_CLASSES = "data.classes (or data.num_classes, for generated images)"

ALIASES: dict[str, str] = {
    **dict.fromkeys(("lr", "lr0", "base_lr", "init_lr", "initial_lr", "max_lr", "learning_rate"), _LEARNING_RATE),
    **dict.fromkeys(("batch", "batch_size", "batchsize", "bs", "samples_per_gpu"), "training.batch_size"),
    **dict.fromkeys(("epochs", "max_epochs", "num_epochs", "n_epochs", "total_epochs"), "training.epochs"),
    **dict.fromkeys(("imgsz", "img_size", "img_scale", "image_size", "input_size", "resize", "scale"), _IMAGE_SIZE),
    **dict.fromkeys(("model", "arch", "architecture", "detector", "network"), "student.family"),
    **dict.fromkeys(("backbone", "encoder", "model_name"), "student.backbone"),
    **dict.fromkeys(
        ("weights", "checkpoint", "ckpt", "ckpt_path", "load_from", "initial_checkpoint"), "student.weights"
    ),
    **dict.fromkeys(("pretrained", "init_cfg", "backbone_checkpoint"), "student.backbone_weights"),
    **dict.fromkeys(("teacher_weights", "teacher_ckpt", "teacher_checkpoint"), "teacher.weights"),
    **dict.fromkeys(("freeze", "frozen_stages", "freeze_backbone", "trainable_layers"), "student.trainable_stages"),
    **dict.fromkeys(("device", "devices", "gpu", "gpus", "num_gpus", "gpu_ids", "accelerator", "cuda"), _GPUS),
    **dict.fromkeys(("cpus", "num_cpus"), "resources.cpus_per_trial"),
    **dict.fromkeys(("workers", "num_workers", "workers_per_gpu"), "resources.loader_workers"),
    **dict.fromkeys(("num_classes", "nc", "names", "classes", "metainfo"), _CLASSES),
    **dict.fromkeys(("data_root", "data_dir", "data_path", "dataset", "path", "root"), "data.root"),
    **dict.fromkeys(("optim", "optimizer", "opt", "optimizer_type"), "training.optimizer.kind"),
    **dict.fromkeys(("momentum",), "training.optimizer.momentum"),
    **dict.fromkeys(("weight_decay", "wd", "decay"), "training.optimizer.weight_decay"),
    **dict.fromkeys(("norm_weight_decay", "weight_decay_norm", "norm_decay_mult"), f"{_OPTIMIZER}norm_weight_decay"),
    **dict.fromkeys(("bias_weight_decay", "weight_decay_bias", "bias_decay_mult"), f"{_OPTIMIZER}bias_weight_decay"),
    **dict.fromkeys(
        ("lr_backbone", "backbone_lr", "backbone_lr_factor", "backbone_multiplier"),
        f"{_OPTIMIZER}backbone_learning_rate_factor",
    ),
    **dict.fromkeys(
        (
            "accumulate",
            "accumulate_grad_batches",
            "accumulative_counts",
            "gradient_accumulation_steps",
            "grad_accum_steps",
        ),
        "training.accumulate_batches",
    ),
    **dict.fromkeys(("ema", "model_ema", "use_ema", "ema_decay", "model_ema_decay"), "training.ema.decay"),
    **dict.fromkeys(("model_ema_steps", "ema_steps"), "training.ema.every_steps"),
    **dict.fromkeys(("sched", "scheduler", "lr_scheduler", "lr_config", "param_scheduler", "cos_lr"), _SCHEDULE),
    **dict.fromkeys(("warmup", "warmup_epochs", "warmup_iters", "warmup_steps"), "training.schedule.warmup_share"),
    **dict.fromkeys(("milestones", "decay_epochs"), "training.schedule.milestones"),
    **dict.fromkeys(("clip_grad", "grad_clip", "clip_norm", "max_norm", "gradient_clip_val"), _CLIP),
    **dict.fromkeys(("amp", "fp16", "bf16", "half", "mixed_precision", "precision"), _PRECISION),
    **dict.fromkeys(("seed", "random_seed", "seed_everything"), "training.seed"),
    **dict.fromkeys(("fliplr", "hflip", "flip", "flip_ratio", "flip_prob"), "data.augmentation.horizontal_flip"),
    **dict.fromkeys(("flipud", "vflip"), "data.augmentation.vertical_flip"),
    **dict.fromkeys(("color_jitter", "hsv_h", "hsv_s", "hsv_v"), "data.augmentation.color_jitter"),
    **dict.fromkeys(("multiscale", "multi_scale", "min_size_train"), "data.augmentation.min_sizes_px"),
    **dict.fromkeys(("lsj", "large_scale_jitter", "scale_range"), "data.augmentation.scale_jitter"),
    **dict.fromkeys(("aspect_ratio_grouping", "group_by_aspect_ratio"), "data.aspect_ratio_group_factor"),
    **dict.fromkeys(("oversample_thr", "repeat_thresh"), "data.repeat_threshold"),
    **dict.fromkeys(("filter_empty_gt", "filter_empty_annotations"), "data.keep_empty_images"),
    **dict.fromkeys(("temperature", "tau", "kd_temperature"), "distillation.soft_labels.temperature"),
    **dict.fromkeys(("trials", "num_trials", "n_trials", "num_samples", "iterations"), "search.num_trials"),
    **dict.fromkeys(("metric", "monitor", "objective", "save_best"), "search.metric"),
    **dict.fromkeys(("space", "search_space"), "search.space"),
    **dict.fromkeys(("sampler",), "search.sampler.kind"),
    **dict.fromkeys(("pruner", "patience", "early_stopping"), "search.scheduler.kind"),
    **dict.fromkeys(("tracking_uri", "mlflow_uri", "logger"), "tracking.uri"),
    **dict.fromkeys(("experiment_name",), "tracking.experiment"),
}
"""Name to the path of our setting, or to text that names several."""


def setting_for(path: str) -> str | None:
    """Return the setting that another library calls like the last name of a path.

    Args:
        path: of an unknown setting, such as ``training.lr``.

    Returns:
        The hint, such as ``training.optimizer.learning_rate``; that of the teacher for a path of the teacher. None when
        the name is in no list, or when the hint would be the path itself.
    """
    hint = ALIASES.get(path.rpartition(".")[2].lower())
    if hint is None or path in hint.split():
        return None
    if path.startswith(("teacher.", "teacher_training.")):
        for section, of_teacher in (("training.", "teacher_training."), ("student.", "teacher.")):
            if hint.startswith(section):
                return of_teacher + hint.removeprefix(section)
    return hint
