"""Make an environment smaller that only the operator uses; run by the Dockerfile.

The generated Kubernetes client is three quarters docstrings, on disk and, once imported, in memory.
"""

import ast
import compileall
import shutil
import sys
from pathlib import Path

LEXERS = {"__init__.py", "_mapping.py", "special.py", "python.py"}
"""Of Pygments' languages, those that the command line's help may colour."""
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def without_docstrings(source: str) -> str:
    """Return the same code without docstrings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"


def main(packages: Path) -> None:
    """Slim what lies in this folder of packages."""
    client = packages / "kubernetes/client"
    for path in client.rglob("*.py"):
        path.write_text(without_docstrings(path.read_text()))
    compileall.compile_dir(client, quiet=1, force=True)
    lexers = packages / "pygments/lexers"
    shutil.rmtree(lexers / "__pycache__")
    for path in lexers.glob("*.py"):
        if path.name not in LEXERS:
            path.unlink()
    compileall.compile_dir(lexers, quiet=1)
    shutil.rmtree(packages / "Crypto/SelfTest")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
