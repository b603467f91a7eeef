"""Why a run stops."""


class Stopped(Exception):
    """What people can put right, said in a message; behind it, the same command goes on."""


class SettingsError(Stopped):
    """A setting that cannot be right."""


class ManifestError(Stopped):
    """A manifest that cannot be gone on with."""


class CannotWrite(Stopped):
    """The disk is full, or the folder is not ours to write in."""


class LostWorker(Stopped):
    """A worker is gone, and its batch with it."""


class MissingWeights(Stopped):
    """Weights are neither here nor to be had; the message says where they are, and what works without them."""


class NoPictures(Stopped):
    """What was named holds nothing to work on."""
