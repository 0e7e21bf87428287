import { WeftError } from '../transport.ts'

/** What the URL of an embedded store says: `embedded:DIRECTORY?sessionMs=10000&maxBytes=…&tombstoneMs=86400000`. */
export interface Settings {
  readonly directory: string
  /** A member that did not beat for so long is dead. */
  readonly sessionMs: number
  /** What the logs may hold together, in bytes. */
  readonly maxBytes: number
  /** So long compaction leaves a tombstone for those who have not read it. */
  readonly tombstoneMs: number
}

const SCHEME = 'embedded:'

/** INVALID with what is wrong about the URL. */
export function settingsOf(url: string): Settings {
  const [path = '', query = ''] = url.slice(SCHEME.length).split('?', 2)
  const parameters = new Map(new URLSearchParams(query))
  const number = (name: string, otherwise: number, least: number) => {
    const given = parameters.get(name)
    parameters.delete(name)
    if (given === undefined) return otherwise
    const value = given === '' ? Number.NaN : Number(given)
    if (!(value >= least))
      throw new WeftError('INVALID', `"${url}": ${name} must be a number from ${least} on, not "${given}"`)
    return value
  }
  const settings = {
    directory: directoryOf(url, path),
    sessionMs: number('sessionMs', 10_000, 100),
    maxBytes: number('maxBytes', Number.POSITIVE_INFINITY, 1),
    tombstoneMs: number('tombstoneMs', 24 * 3_600_000, 0),
  }
  if (parameters.size > 0)
    throw new WeftError(
      'INVALID',
      `"${url}" has unknown parameters (${[...parameters.keys()].join(', ')}): sessionMs, maxBytes and tombstoneMs are known`,
    )
  return settings
}

/** `embedded:dir`, `embedded:/dir` and `embedded:///dir` are all understood; %XX stands for what a URL can't hold. */
function directoryOf(url: string, path: string): string {
  let directory = path.replace(/^\/\/(?=\/)/, '')
  try {
    directory = decodeURIComponent(directory)
  } catch {
    // A lone percent sign is part of the name.
  }
  if (directory === '') throw new WeftError('INVALID', `"${url}" names no directory: expected embedded:DIRECTORY`)
  return directory
}
