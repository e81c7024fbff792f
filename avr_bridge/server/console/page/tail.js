// A list that grows at its end. The end stays in sight, also when the list is given another size,
// until the user scrolls away from it; scrolling back to the end follows it again.

const NEAR_PX = 8; // of the end; a wheel seldom hits it exactly

export class Tail {
  #list;
  #follows = true;
  #size = '';

  constructor(list) {
    this.#list = list;
    list.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.settle()).observe(list);
  }

  // Nothing in it, as at the beginning.
  clear() {
    this.#list.replaceChildren();
    this.#follows = true;
  }

  // Behind the others; of more than `most` the first one goes.
  append(item, most = Infinity) {
    this.#list.append(item);
    if (this.#list.children.length > most) this.#list.firstElementChild.remove();
    this.settle();
  }

  // Its size or what is in it has changed.
  settle() {
    if (this.#follows) this.#list.scrollTop = this.#list.scrollHeight;
    this.#size = this.#sizeNow();
  }

  // By the user, or by the browser, which had to lay it out anew.
  #scrolled() {
    if (this.#sizeNow() !== this.#size) {
      this.settle();
      return;
    }
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #sizeNow() {
    const { clientWidth, clientHeight, scrollHeight } = this.#list;
    return `${clientWidth} ${clientHeight} ${scrollHeight}`;
  }
}
