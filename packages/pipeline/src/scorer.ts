import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WeftError } from '@weft/transport'
import { FEATURE_NAMES } from './feature-names.ts'
import { type Inference, startInference } from './inference.ts'

/** A trained model, loaded and checked. */
export interface Scorer extends AsyncDisposable {
  readonly id: string
  readonly version: string
  /** What a row holds, in order. */
  readonly features: readonly string[]
  /**
   * Probabilities of `count` rows that lie behind one another in `rows`, which must stay as it is until this resolves.
   * Runs on a thread of its own; calls that come while it is busy go in its next batch together. A row's score is the
   * same bits whatever it is batched with. INVALID if `rows` has another length than count × features; CLOSED after
   * disposal; UNAVAILABLE if the thread died.
   */
  score(rows: Float32Array, count: number): Promise<Float32Array>
}

interface Description {
  readonly id: string
  readonly version: string
  readonly file: string
  readonly sha256: string
  readonly features: readonly string[]
}

/** The model that ships with Weft: purchase intent of a shopping session. */
export const defaultModel = fileURLToPath(new URL('../model', import.meta.url))

/**
 * Loads a model from its directory or its model.json: `{id, version, file, sha256, features}`, the file an ONNX graph
 * from float32 [n, features] to one probability a row, float32 [n, 1]. NOT_FOUND if a file is missing, INVALID if one
 * is not what model.json says or the model wants other features than `expected`.
 */
export async function loadScorer(path = defaultModel, expected: readonly string[] = FEATURE_NAMES): Promise<Scorer> {
  const descriptionPath = path.endsWith('.json') ? resolve(path) : join(resolve(path), 'model.json')
  const description = parse(descriptionPath, (await read(descriptionPath, 'the model')).toString())
  compareFeatures(descriptionPath, description.features, expected)
  const modelPath = join(dirname(descriptionPath), description.file)
  const bytes = await read(modelPath, `the model ${description.id} ${description.version}`)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== description.sha256)
    throw new WeftError(
      'INVALID',
      `${modelPath} is not the file that ${descriptionPath} describes: its SHA-256 is ${sha256}, not ${description.sha256}`,
    )
  return scorerOf(description, await startInference(modelPath, bytes, expected.length))
}

function scorerOf({ id, version, features }: Description, inference: Inference): Scorer {
  const width = features.length
  return {
    id,
    version,
    features,
    async score(rows, count) {
      if (!Number.isInteger(count) || count < 0 || rows.length !== count * width)
        throw new WeftError(
          'INVALID',
          `${count} rows of ${width} features take ${count * width} numbers, ${rows.length} were given`,
        )
      return count === 0 ? new Float32Array() : inference.run(rows, count)
    },
    [Symbol.asyncDispose]: () => inference[Symbol.asyncDispose](),
  }
}

async function read(path: string, what: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    throw new WeftError(
      missing ? 'NOT_FOUND' : 'UNAVAILABLE',
      missing ? `${path} is missing: ${what} cannot be loaded without it` : `${path} cannot be read`,
      { retryable: false, cause },
    )
  }
}

function parse(path: string, text: string): Description {
  let value: Partial<Description> | null
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new WeftError('INVALID', `${path} is not JSON`, { cause })
  }
  for (const name of ['id', 'version', 'file', 'sha256'] as const)
    if (typeof value?.[name] !== 'string') throw new WeftError('INVALID', `${path}: "${name}" must be a string`)
  if (!Array.isArray(value?.features) || !value.features.every(each => typeof each === 'string'))
    throw new WeftError('INVALID', `${path}: "features" must be a list of names`)
  return value as Description
}

function compareFeatures(path: string, features: readonly string[], expected: readonly string[]): void {
  if (features.length !== expected.length)
    throw new WeftError(
      'INVALID',
      `${path}: the model takes ${features.length} features, the pipeline computes ${expected.length}: ${expected.join(', ')}`,
    )
  const at = features.findIndex((name, index) => name !== expected[index])
  if (at >= 0)
    throw new WeftError(
      'INVALID',
      `${path}: feature ${at + 1} of the model is "${features[at]}" where the pipeline computes "${expected[at]}"`,
    )
}
