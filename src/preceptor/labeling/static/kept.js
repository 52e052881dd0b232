// What this browser keeps of a labeler's work until the server has it. Storage may be full, or
// forbidden: then everything else still works.

const PREFIX = "preceptor/";

export function read(name) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name));
  } catch {
    return null;
  }
}

export function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Nothing is lost yet: the server is asked to save it too.
  }
}

export function forget(beginning) {
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX + beginning)) localStorage.removeItem(key);
    }
  } catch {
    // As above.
  }
}
