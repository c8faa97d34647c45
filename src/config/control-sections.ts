/** What a command that works on the control store needs of a configuration: a fault elsewhere must not stop a kill. */
// SPDX-License-Identifier: Apache-2.0

type Settings = Readonly<Record<string, unknown>>

/**
 * A configuration that has the sections `store` and `control` of the given one, the names of its key stores, and,
 * where a token holds the master key, the backend of that token. Everything else is left out or stands for nothing: no
 * listener is opened by it, and no PIN is read that the store does not need.
 */
export function pickControlSections(value: unknown): unknown {
  if (!isSettings(value)) return value
  const { store, control, keyStores, backends } = value
  const token = at(at(store, 'masterKey'), 'pkcs11')
  const needed = (Array.isArray(backends) ? (backends as unknown[]) : []).filter(
    (one) => token !== undefined && at(one, 'name') === at(token, 'backend'),
  )
  return {
    // The schema wants one; the commands that use this have none.
    listener: { tls: { certificate: 'none', privateKey: 'none' } },
    store,
    ...(control === undefined ? {} : { control }),
    keyStores: pickNames(keyStores),
    ...(token === undefined ? {} : { backends: needed }),
  }
}

function pickNames(keyStores: unknown): unknown {
  if (!Array.isArray(keyStores)) return keyStores
  return (keyStores as unknown[]).map((one, i) =>
    isSettings(one) ? { name: one['name'], prefix: `/${String(i)}` } : one,
  )
}

function at(value: unknown, name: string): unknown {
  return isSettings(value) ? value[name] : undefined
}

function isSettings(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
