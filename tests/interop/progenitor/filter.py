"""What progenitor takes of the description (standard input to standard output, as JSON).

It wants one type of success and one of error per operation, and one type of body:
- the 204 that `Prefer: return=minimal` asks for goes, and the parameter with it, unless it asks for a merge
  as well;
- of the media types of a patch plain JSON stays, which is a merge patch too;
- of a probe the 400 goes, so that its error is the report of the 503;
- the operations of this contract itself, which answer with text, go.
"""

import json
import sys

contract = json.load(sys.stdin)
prefer = {"$ref": "#/components/parameters/Prefer"}
for path in [path for path in contract["paths"] if path == "/" or path.startswith(("/openapi", "/docs"))]:
    del contract["paths"][path]
for path, operations in contract["paths"].items():
    for name, operation in operations.items():
        if name == "parameters":
            continue
        if path.startswith("/health"):
            operation["responses"].pop("400", None)
        operation["responses"].pop("204", None)
        if prefer in operation.get("parameters", []):
            operation["parameters"].remove(prefer)
        content = operation.get("requestBody", {}).get("content", {})
        for media_type in [one for one in content if one != "application/json"]:
            del content[media_type]
json.dump(contract, sys.stdout)
