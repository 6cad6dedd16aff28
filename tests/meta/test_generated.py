from mstore.base import generate


def test_generated_files_are_current() -> None:
    for path, text in generate.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m mstore.base.generate"
