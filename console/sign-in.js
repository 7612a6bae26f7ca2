// The dialog to sign in, and who is signed in, in the header of the page.

import { hasAnonymous, whyNotSignedIn } from "./caller.js";
import { announce, button, h } from "./dom.js";

const byId = (id) => document.getElementById(id);

/** Shows an account. */
export class SignIn {
  #isBusy = false;

  /** on.failed(sentence) is called if someone could not sign out. */
  constructor(account, on) {
    Object.assign(this, { account, on });
    this.place = byId("account");
    this.dialog = byId("sign-in");
    this.field = byId("token");
    this.problem = byId("sign-in-problem");
    this.without = byId("sign-in-without");
    // The policy of the page lets no form be sent: the token must never be in an address.
    byId("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId("sign-in-cancel").addEventListener("click", () => this.dialog.close());
    this.without.addEventListener("click", () => this.#try(() => account.goOnWithout()));
    this.dialog.addEventListener("close", () => {
      this.field.value = "";
      this.problem.textContent = "";
    });
  }

  /** Asks for a token, and says why. */
  ask(why) {
    byId("sign-in-why").textContent = why;
    if (this.dialog.open) return;
    this.without.hidden = true;
    this.dialog.showModal();
    this.field.focus();
    announce(why);
    if (this.account.caller === undefined || this.account.hasEnded) this.#offerWithout();
  }

  async #offerWithout() {
    this.without.hidden = !(await hasAnonymous());
  }

  async #submit() {
    // What is copied often ends with a line break or a space, and no token does.
    const token = this.field.value.trim();
    if (token === "") {
      this.#complain("Type a token.");
      return;
    }
    await this.#try(() => this.account.signIn(token));
  }

  async #try(act) {
    if (this.#isBusy) return;
    this.#setBusy(true);
    this.problem.textContent = "";
    try {
      await act();
    } catch (error) {
      this.#complain(whyNotSignedIn(error));
    }
    this.#setBusy(false);
  }

  #setBusy(isBusy) {
    this.#isBusy = isBusy;
    byId("sign-in-submit").setAttribute("aria-disabled", String(isBusy));
  }

  #complain(sentence) {
    this.problem.textContent = sentence;
    this.field.setAttribute("aria-invalid", "true");
    this.field.select();
    this.field.focus();
  }

  /** Shows the account as it is now. */
  render() {
    const { account } = this;
    this.place.hidden = !account.isShown;
    const isIn = account.caller !== undefined && !account.hasEnded;
    if (isIn) this.field.setAttribute("aria-invalid", "false");
    if (isIn && (account.name !== null || !this.dialog.open)) this.dialog.close();
    const signature = JSON.stringify([account.name, isIn, account.hasEnded]);
    if (signature === this.rendered) return;
    this.rendered = signature;
    this.place.replaceChildren(...(isIn && account.name !== null ? this.#signedIn() : this.#signedOut()));
  }

  #signedIn() {
    const { name } = this.account;
    return [
      h(
        "span",
        { className: "account-name", title: `Signed in as ${name}` },
        h("span", { className: "visually-hidden" }, "Signed in as "),
        h("bdi", null, name),
      ),
      button("Sign out", () => this.#signOut(), { className: "quiet" }),
    ];
  }

  #signedOut() {
    const { account } = this;
    // The service may need tokens since a moment ago.
    const hadSession = account.hasEnded && account.name !== null;
    const words = hadSession ? "Session ended" : "Not signed in";
    return [
      h("span", { className: `account-name ${hadSession ? "is-ended" : "is-nobody"}` }, words),
      button("Sign in", () => this.ask(this.why())),
    ];
  }

  /** Why one is asked to sign in. */
  why() {
    const { account } = this;
    if (account.hasEnded && account.name !== null) return "Your session has ended.";
    if (account.hasEnded || account.caller === undefined) return "This service wants to know who you are.";
    return "You see what everyone may see. With a token you may see and do more.";
  }

  async #signOut() {
    try {
      if (await this.account.signOut()) return;
      this.on.failed("You are still signed in: a certificate or a proxy tells the service who you are.");
    } catch (error) {
      this.on.failed(`You are not signed out: ${error.message}`);
    }
  }
}
