// @ts-check
// Elements of the page. Whatever comes from the network reaches the document through textContent, `value` or dataset only,
// never as markup.

/** An element of index.html. @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/** Only changes, so that a selection survives the update each second. @param {Element} node @param {string} text */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A new element with properties (`class` for className, `dataset` as an object) and children.
 * @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children @returns {any} */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class') node.className = value;
    else if (name === 'dataset') Object.assign(node.dataset, value);
    else if (name.includes('-') || name === 'role' || name === 'for') node.setAttribute(name, value);
    else Reflect.set(node, name, value);
  }
  node.append(...children);
  return node;
}

/** @param {Element | EventTarget} target @param {string} type @param {(event: any) => void} act */
export function on(target, type, act) {
  target.addEventListener(type, (event) => {
    if (type === 'submit') event.preventDefault();
    act(event);
  });
}

/** Puts a text on the clipboard; plain http from another machine has no navigator.clipboard.
 * @param {string} text @param {any} button says that it is done */
export async function copy(text, button) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    const area = make('textarea', { value: text, class: 'unseen' });
    button.after(area);
    area.select();
    done = document.execCommand('copy');
    area.remove();
    button.focus();
  }
  const label = button.dataset.label ??= button.textContent;
  put(button, done ? 'Copied' : 'Press Ctrl+C');
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = String(setTimeout(() => put(button, label), 1500));
}
