// see task.js
