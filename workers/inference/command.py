"""The command line of a bundle: raw inputs as arguments, predictions as JSON."""

import argparse
import json
import sys
from pathlib import Path

from workers.inference.core import MODEL, Bundle, InputError, Predictor, read_manifest


def main(predictors: type[Predictor], argv: list[str] | None = None) -> int:
    """Answer what the command line asks with the bundle beside this file. Exit code 0, or 2 where an input cannot be
    used."""
    parser = argparse.ArgumentParser(description="Predict with the model in this folder; prints JSON.")
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent, help="another bundle's folder")
    parser.add_argument("--json", metavar="FILE", help='a request body {"inputs": [...]}; - reads standard input')
    parser.add_argument("--variant", metavar="NAME", help="another form of the model, where the bundle has one: int8")
    predictors.add_arguments(parser)
    arguments = parser.parse_args(argv)
    manifest = read_manifest(arguments.bundle)
    variants = {variant["name"]: variant["file"] for variant in manifest.get("variants", [])}
    if arguments.variant and arguments.variant not in variants:
        parser.error(f"this bundle has no variant {arguments.variant}; it has: {', '.join(variants) or 'none'}")
    model = variants[arguments.variant] if arguments.variant else MODEL
    predictor = predictors(Bundle(arguments.bundle, manifest, model))
    try:
        if arguments.json:
            source = sys.stdin.buffer.read() if arguments.json == "-" else Path(arguments.json).read_bytes()
            items = predictor.parse(json.loads(source))
        else:
            items = predictor.parse(predictor.raw_inputs(arguments))
    except (InputError, OSError, ValueError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    answer = json.dumps({"predictions": predictor.predict(items)}, ensure_ascii=False, indent=2)
    sys.stdout.buffer.write(answer.encode("utf-8", "replace") + b"\n")
    return 0
