-- The form is described in tests/lua/README.md.
return tests {
  ["releases and comments"] = {
    params = { ticket = 7 }, answers = { "release" }, expect = { status = "done", result = "release", actions = { { "rt.comment", id = 7 } } },
  },
  ["keeps when told so"] = { params = { ticket = 7 }, answers = { "keep" }, expect = { status = "done", result = "keep", actions = {} } },
  ["silence keeps"] = { answers = { "(silence)" }, expect = { status = "done", result = "keep", actions = {} } },
}
