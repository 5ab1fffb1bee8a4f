"""Writes what a package says about cropped faces, and how fast, as JSON; runs in the environment of that package.

`python answer.py NAME PATHS OUT`: PATHS has one picture's path a line. A package that lacks something fails with its own error.
"""

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

TIMED = 256  # faces that the clock is taken on, the best of three passes


def mien():
    """Returns mien's default model as a function from paths to class names."""
    from mien.predict.hub import resolve_model
    from mien.predict.predictor import Predictor

    predictor = Predictor.load(resolve_model("default"), threads=1)

    def answer(paths):
        predictions = predictor.predict(paths, cropped=True)
        return [predictions.classes[position] for position in predictions.positions]

    return answer


def fer():
    """Returns fer's default, a quantised TensorFlow Lite model, on whole crops: no detector, no 10 pixels around its box."""
    import cv2
    from fer.fer import FER

    model = FER(offsets=(0, 0))

    def answer(paths):
        names = []
        for path in paths:
            image = cv2.imread(path)
            (face,) = model.detect_emotions(image, face_rectangles=[(0, 0, image.shape[1], image.shape[0])])
            names.append(max(face["emotions"], key=face["emotions"].get))
        return names

    return answer


def deepface():
    """Returns deepface with its detector skipped."""
    from deepface import DeepFace

    def answer(paths):
        faces = (DeepFace.analyze(path, actions=["emotion"], detector_backend="skip", silent=True) for path in paths)
        return [face["dominant_emotion"] for (face,) in faces]

    return answer


def emotiefflib():
    """Returns EmotiEffLib's default model, run by ONNX Runtime."""
    import cv2
    from emotiefflib.facial_analysis import EmotiEffLibRecognizer

    model = EmotiEffLibRecognizer(engine="onnx")
    return lambda paths: [model.predict_emotions(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB))[0][0] for path in paths]


def rmn():
    """Returns the residual masking network without its detector."""
    import cv2
    from rmn import RMN

    model = RMN(face_detector=False)
    return lambda paths: [model.detect_emotion_for_single_face_image(cv2.imread(path))[0] for path in paths]


PACKAGES = {function.__name__: function for function in (mien, fer, deepface, emotiefflib, rmn)}
ENGINES = ("onnxruntime", "tensorflow", "torch")


def versions(name):
    """Returns the package with its version, then the engines that it has loaded with theirs."""
    loaded = [engine for engine in ENGINES if engine in sys.modules]
    return ", ".join(f"{one} {importlib.metadata.version(one)}" for one in (name, *loaded))


def installed_mb():
    """Returns the size of the environment's files in MB, compiled Python files left out."""
    paths = (path for path in Path(sys.prefix).rglob("*") if path.suffix != ".pyc" and not path.is_symlink())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def main():
    """Answers for all faces on one core."""
    name, listed, out = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    paths = Path(listed).read_text(encoding="utf-8").splitlines()
    answer, times = PACKAGES[name](), []
    for _ in range(3):
        start = time.process_time()
        answer(paths[:TIMED])
        times.append(time.process_time() - start)
    found = {
        "answers": answer(paths),
        "faces_per_s": len(paths[:TIMED]) / min(times),
        "versions": versions(name),
        "installed_mb": installed_mb(),
    }
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
