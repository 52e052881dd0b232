"""Chromium, driven over its own protocol: what a person does with keys, mouse and touch."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LONGEST = 20.0
"""Seconds until something that should happen is given up; nothing is timed."""

KEYS = {
    "Enter": 13,
    "Tab": 9,
    "Escape": 27,
    "ArrowUp": 38,
    "ArrowDown": 40,
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "Space": 32,
    "Backspace": 8,
}
CTRL, SHIFT = 2, 8


def find_program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Chromium:
    """One browser with one page."""

    def __init__(self, folder: Path) -> None:
        program = find_program()
        assert program is not None
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder}",
                "--no-first-run",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-extensions",
                "--hide-scrollbars",
                # A sandbox needs rights that root and containers do not have.
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                "--disable-dev-shm-usage",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._open = ExitStack()
        self._open.callback(self._end)
        try:
            self._connect(folder)
        except BaseException:
            self._open.close()
            raise

    def _connect(self, folder: Path) -> None:
        port_file = folder / "DevToolsActivePort"
        self._until(lambda: port_file.is_file() and port_file.read_text().count("\n") >= 1)
        port, path = port_file.read_text().split("\n")[:2]
        socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
        self._socket = self._open.enter_context(socket)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(1280, 800)

    def close(self) -> None:
        self._open.close()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(LONGEST)

    def call(self, method: str, **params: Any) -> Any:
        """One command; events that come meanwhile are noted if they complain of something."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(LONGEST))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.complaints.append(str(params["args"]))
        elif event.get("method") == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {params['message']}")

    # Where it looks

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of an expression on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true on the page, whatever pages come between."""

        def holds() -> bool:
            try:
                return bool(self.js(expression))
            except AssertionError:  # the page is going
                return False

        self._until(holds, expression)

    @staticmethod
    def _until(holds: Callable[[], bool], what: str = "") -> None:
        deadline = time.monotonic() + LONGEST
        while not holds():
            assert time.monotonic() < deadline, f"gave up waiting: {what}"
            time.sleep(0.02)

    @property
    def path(self) -> str:
        return str(self.js("location.pathname"))

    def text(self, selector: str = "body") -> str:
        return str(self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def leave(self, act: Callable[[], None]) -> None:
        """Do what opens another page, and wait for it."""
        self.js("window.stillHere = true")
        act()
        self.wait("!window.stillHere && document.readyState === 'complete'")

    # What a person does

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key, down and up."""
        named = key in KEYS
        code = KEYS.get(key) or ord(key.upper())
        typed = {"Enter": "\r", "Space": " "}.get(key, "" if named else key)
        params: dict[str, Any] = {
            "key": " " if key == "Space" else key,
            "code": key if named else "",
            "windowsVirtualKeyCode": code,
            "modifiers": modifiers,
        }
        if typed and not modifiers & CTRL:
            params["text"] = typed
        self.call("Input.dispatchKeyEvent", type="keyDown", **params)
        params.pop("text", None)
        self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    def write(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def tab_to(self, selector: str) -> None:
        """Tab until something of that kind has the focus."""
        for _ in range(200):
            if self.js(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise AssertionError(f"no way to {selector} by Tab")

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, brought into view."""
        found = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        return found[0], found[1]

    def click(self, selector: str) -> None:
        x, y = self.place(selector)
        self._mouse("mousePressed", x, y)
        self._mouse("mouseReleased", x, y)

    def drag(self, selector: str, target: str) -> None:
        """With the mouse, in steps."""
        x, y = self.place(selector)
        tx, ty = self._where(target)
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y)
        for i in range(1, 6):
            self._mouse("mouseMoved", x + (tx - x) * i / 5, y + (ty - y) * i / 5)
        self._mouse("mouseReleased", tx, ty)

    def touch_drag(self, selector: str, target: str) -> None:
        """With a finger."""
        x, y = self.place(selector)
        tx, ty = self._where(target)
        self._touch("touchStart", x, y)
        for i in range(1, 6):
            self._touch("touchMove", x + (tx - x) * i / 5, y + (ty - y) * i / 5)
        # The finger rests before it is lifted; else it is a fling, and the next tap ends that.
        time.sleep(0.3)
        self._touch("touchMove", tx, ty)
        self._touch("touchEnd")

    def tap(self, selector: str) -> None:
        x, y = self.place(selector)
        self._touch("touchStart", x, y)
        self._touch("touchEnd")

    def _where(self, selector: str) -> tuple[float, float]:
        found = self.js(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        return found[0], found[1]

    def _mouse(self, kind: str, x: float, y: float) -> None:
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left",
            buttons=1,
            clickCount=1,
        )

    def _touch(self, kind: str, x: float | None = None, y: float | None = None) -> None:
        points = [] if x is None else [{"x": x, "y": y}]
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    # How it is set up

    def resize(self, width: int, height: int, *, scale: float = 1, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def dark(self, on: bool = True) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        # A color that is on its way is none to be looked at.
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, calm])

    def scripts(self, on: bool) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def offline(self, on: bool) -> None:
        self.call(
            "Network.emulateNetworkConditions",
            offline=on,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def picture(self, path: Path, *, whole: bool = False) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
