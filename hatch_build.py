"""What the wheel holds beside Python: the compiled operators, where PyTorch is at hand to compile them against."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledOperators(BuildHookInterface[Any]):
    """Builds the operators into the wheel; without PyTorch or a compiler the wheel is pure Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files; an editable installation builds by `zoo build-ops`."""
        if self.target_name != "wheel" or version == "editable":
            return
        path = Path(self.root, "zoo/ops/build.py")
        spec = importlib.util.spec_from_file_location("zoo_ops_build", path)
        assert spec is not None and spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        self.folder = tempfile.TemporaryDirectory()
        try:
            libraries = build.build(Path(self.folder.name))
        except build.MissingToolError as error:
            self.app.display_warning(f"the operators are not compiled: {error}")
            return
        build_data["force_include"] |= {str(library): f"zoo/ops/{library.name}" for library in libraries}
        build_data["pure_python"] = False
        build_data["infer_tag"] = False
        build_data["tag"] = f"py3-none-{build.platform_tag()}"
