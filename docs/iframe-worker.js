/* Browsers give pages that are opened as files no workers, and the search runs in one. There a hidden frame does it. */
if (location.protocol === "file:") {
  const importScripts = (...urls) =>
    urls.reduce(
      (before, url) =>
        before.then(
          () =>
            new Promise((done) => {
              const script = document.createElement("script");
              script.src = url;
              script.addEventListener("load", () => done());
              document.body.appendChild(script);
            }),
        ),
      Promise.resolve(),
    );

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = `<body><script>
        postMessage = (data) => frameElement.dispatchEvent(new MessageEvent("message", { data }));
        importScripts = ${importScripts};
      </script><script src="${url}"></script></body>`;
      this.loaded = new Promise((done) => this.frame.addEventListener("load", () => done()));
      this.frame.addEventListener("message", ({ data }) => this.dispatchEvent(new MessageEvent("message", { data })));
      document.body.appendChild(this.frame);
    }

    postMessage(data) {
      this.loaded.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
