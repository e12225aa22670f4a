"""What the documents say: their Python runs, their commands are taken, their files, links, keys and messages exist.

Every command of a block of `bash` is read by the program that it names, which then does nothing: options and config
keys must exist, and values fit. A block behind the line `<!-- run -->` is run, in a folder with a small data set in
Market-1501's layout named `mine`, a run on it in `logs/mine`, and images of the names that documents give; without it
stand those that train, or that need data, a GPU, minutes or the network. Blocks of YAML are read as configs.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from documents import DOCUMENTS, ROOT, blocks, check_command, check_extras, command_lines, program

from fastreid_ext import projects
from fastreid_ext.config import ConfigError, get_cfg, load_config
from fastreid_ext.modeling import build_model
from fastreid_ext.registry import RegistryError

NAMES = {document: str(document.relative_to(ROOT)) for document in DOCUMENTS}
PYTHON = [(document, code) for document in DOCUMENTS for code in blocks(document, "python")]
BASH = [(document, code) for document in DOCUMENTS for code in blocks(document, "bash")]
YAML = [(document, code) for document in DOCUMENTS for code in blocks(document, "yaml")]
MARKED = [(document, code) for document in DOCUMENTS for code in blocks(document, "bash", marked=True)]


@pytest.fixture
def folder(tmp_path: Path, market_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of what is run: a data set `mine`, and what a checkout has."""
    market_folder("mine")
    for name in ("configs", "projects", "tests", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_folder(folder: Path) -> Path:
    """The folder, with a run of a model that was not trained, and images to use it on."""
    options = [
        "DATASETS.NAMES",
        ("MarketLayout:mine",),
        "DATASETS.TESTS",
        ("MarketLayout:mine",),
        "MODEL.DEVICE",
        "cpu",
    ]
    options += ["INPUT.SIZE_TRAIN", [32, 16], "INPUT.SIZE_TEST", [32, 16], "MODEL.HEADS.NUM_CLASSES", 8]
    options += ["MODEL.BACKBONE.NAME", "OSNet", "MODEL.BACKBONE.DEPTH", "x0_25", "MODEL.BACKBONE.PRETRAIN", False]
    cfg = load_config("", options)
    run = folder / "logs" / "mine"
    run.mkdir(parents=True)
    torch.save({"model": build_model(cfg).state_dict(), "config": cfg.dump()}, run / "model_best.pth")
    for name in ("path/to/images", "path/to/more", "photos", "more-photos"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folder / "mine" / ("query" if "more" in name else "bounding_box_test"))
    images = sorted((folder / "mine" / "query").iterdir())
    for name in ("one.jpg", "other.jpg", "photograph.jpg", "who.jpg", "a.jpg", "b.jpg"):
        (folder / name).symlink_to(images[len(name) % 2])
    return folder


@pytest.mark.parametrize(("document", "code"), PYTHON, ids=[NAMES[document] for document, _ in PYTHON])
def test_python_blocks_run(document: Path, code: str, folder: Path) -> None:
    exec(compile(code, str(document), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("document", "code"), BASH, ids=[NAMES[document] for document, _ in BASH])
def test_commands_are_taken(document: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in command_lines(code):
        if found := program(words):
            check_command(*found, monkeypatch)


@pytest.mark.parametrize(("document", "code"), MARKED, ids=[NAMES[document] for document, _ in MARKED])
def test_marked_blocks_run(document: Path, code: str, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in command_lines(code):
        found = program(words)
        assert found is not None, f"{words[0]} cannot be run here"
        module, arguments = found
        module.main(arguments)
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(("document", "code"), YAML, ids=[NAMES[document] for document, _ in YAML])
def test_yaml_blocks_are_configs(document: Path, code: str, tmp_path: Path) -> None:
    own = "" if "PROJECTS" in code else f"PROJECTS: [{document.parent.name}]\n"
    file = tmp_path / "block.yml"
    file.write_text(own + code, encoding="utf-8")
    load_config(file)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("python tools/train_net.py --config-flie msinet/msmt", SystemExit),
        ("python tools/train_net.py --config-file msinet/msmd", ConfigError),
        ("python tools/train_net.py --config-file msinet/msmt SOLVER.MAX_EPOCHS 3", ConfigError),
        ("python tools/train_net.py --config-file logs/mine/config.yaml SOLVER.MAX_EPOCH three", ConfigError),
        (
            "python tools/train_net.py --config-file projects/adasp/configs/veri.yml MODEL.MSINET.GENOTYPE x",
            ConfigError,
        ),
        ("python tools/train_net.py SOLVER.MAX_EPOCH 3 --resume", SystemExit),
        ("torchrun --nproc-per-node 4 tools/train_net.py --list nothing", SystemExit),
        ("python tools/sweep.py --config-files adasp/quickstart SOLVER.BASE_RATE=1,2", ConfigError),
        ("python tools/evaluate.py a.npz TEST.METRICS cosine", ConfigError),
        ("python tools/draw.py painting a.npz", SystemExit),
        ("python tools/benchmark.py luggage", RegistryError),
        ("fastreid-ext-tune-inference --setting 3x", SystemExit),
        ("python tools/trian_net.py", AssertionError),
        ("fastreid-ext-fly", AssertionError),
        ("make believe", AssertionError),
        ("pip install 'fastreid_ext[vizz]'", AssertionError),
        ("trainer --fast", AssertionError),
    ],
)
def test_a_mistake_in_a_block_is_found(line: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = command_lines(line)
    with pytest.raises(error):
        found = program(words)
        assert found is not None
        check_command(*found, monkeypatch)


def test_continued_lines_comments_and_variables_are_those_of_a_shell() -> None:
    code = "file=a.yml   # a comment\npython tools/train_net.py --config-file $file \\\n    SEED '(1,)'  # another\n"
    assert list(command_lines(code)) == [["python", "tools/train_net.py", "--config-file", "a.yml", "SEED", "(1,)"]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES.values())
def test_links_and_paths_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / link).exists(), f"{document} links to {link}"
    for path in re.findall(r"`((?:fastreid_ext|projects|tests|configs|tools|docs)/[\w/.-]+\.(?:py|yml|md))`", text):
        assert any((folder / path).exists() for folder in (ROOT, document.parent)), f"{document} names {path}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES.values())
def test_extras_exist(document: Path) -> None:
    check_extras(document.read_text(encoding="utf-8"))


def test_keys_in_documents_exist() -> None:
    known = {key for key, _ in get_cfg(projects.available()).leaves()}
    nodes = {key.rsplit(".", depth)[0] for key in known for depth in range(1, key.count(".") + 1)}
    sections = "|".join(sorted({key.partition(".")[0] for key in nodes}))
    pattern = re.compile(rf"`((?:{sections})(?:\.[A-Z_0-9]+)+)\b")
    for document in DOCUMENTS:
        for key in pattern.findall(document.read_text(encoding="utf-8")):
            known_somewhere = key in known | nodes or document.name == "extending.md"
            assert known_somewhere, f"{document} names the key {key}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES.values())
def test_options_in_sentences_are_taken(document: Path) -> None:
    """`KEY VALUE` in a sentence or a table, where it is more than a key."""
    cfg = get_cfg(projects.available())
    known = dict(cfg.leaves())
    for span in re.findall(r"`([A-Z][A-Z_0-9.]+ [^`\n]*)`", document.read_text(encoding="utf-8")):
        words = span.split(" ", 1) if span.count(" ") == 1 else []
        if words and words[0] in known and not re.search(r"\.\.\.|\\|<|,$", words[1]):
            cfg.merge_from_list([words[0], words[1].strip("'")])


def messages() -> list[str]:
    """Every text in the code, with "…" for what is put in."""
    found = []
    for path in [*(ROOT / "fastreid_ext").rglob("*.py"), *(ROOT / "projects").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_messages_of_troubleshooting_are_the_code_s_own() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = [message for message in re.findall(r"^### `(.+)`$", text, re.MULTILINE) if not message.startswith("CUDA")]
    assert len(quoted) >= 15
    said = messages()
    for message in quoted:
        parts = re.split(" ?… ?", message)
        pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
        near = [known for known in said if all(part in known for part in parts)]
        assert any(map(pattern.search, near)), f"nothing says {message!r}"
