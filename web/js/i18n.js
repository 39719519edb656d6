// The page's two languages.
//
// In: `?lang=`, the remembered choice, the browser's languages (in this order). Out: `t(key, values)`,
// texts filled into the document, and a `language` event for what is built in code.
// Markup names its texts: data-i18n (content), data-i18n-label (accessible name and tooltip),
// data-i18n-placeholder.

import en from '../i18n/en.js';
import zh from '../i18n/zh.js';
import { choices, params } from './settings.js';

const tables = { en, zh };

/** Fires `language` after each switch. */
export const language = new EventTarget();

let current = [params.lang, choices.read('lang'), ...(navigator.languages ?? [])]
  .map((tag) => tag.toLowerCase().split('-')[0])
  .find((tag) => tag in tables) ?? 'en';

export const lang = () => current;

/** The text for `key`; `{name}` in it is replaced by `values.name`. Unknown keys give ''. */
export function t(key, values = {}) {
  const text = tables[current][key] ?? tables.en[key] ?? '';
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** A name that the server gives per language: `{en, zh}` or a plain string. */
export function named(name) {
  return typeof name === 'string' ? name : (name?.[current] ?? name?.en ?? '');
}

/** Fills every marked text below `root`. */
export function translate(root = document) {
  for (const element of root.querySelectorAll('[data-i18n]')) element.textContent = t(element.dataset.i18n);
  for (const element of root.querySelectorAll('[data-i18n-label]')) {
    label(element, element.dataset.i18nLabel, element.dataset.key);
  }
  for (const element of root.querySelectorAll('[data-i18n-placeholder]')) {
    element.placeholder = t(element.dataset.i18nPlaceholder);
  }
}

/** Names a control without visible text; the tooltip adds its key. */
export function label(element, key, shortcut = '') {
  element.dataset.i18nLabel = key;
  element.setAttribute('aria-label', t(key));
  element.title = shortcut ? `${t(key)} (${shortcut})` : t(key);
}

export function setLanguage(tag) {
  if (!(tag in tables)) return;
  current = tag;
  choices.write('lang', tag);
  dress();
  language.dispatchEvent(new Event('language'));
}

/** Puts the whole document into the current language. */
export function dress() {
  document.documentElement.lang = current === 'zh' ? 'zh-CN' : 'en';
  document.title = t('title');
  translate();
}
