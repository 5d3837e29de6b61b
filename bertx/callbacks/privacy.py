"""Whether the texts of a run may be sent to its loggers."""

from lightning.pytorch import Trainer


def texts_are_logged(trainer: Trainer) -> bool:
    """Whether the loggers get texts and words.

    Not if ``log_text`` of one callback is false: who says so once means all callbacks.
    """
    return all(getattr(callback, "log_text", True) for callback in trainer.callbacks)  # type: ignore[attr-defined]
