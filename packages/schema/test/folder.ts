import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** A schemas folder of its own, gone when disposed. */
export interface Folder extends AsyncDisposable {
  readonly dir: string
  write(file: string, content: unknown): Promise<void>
  read(file: string): Promise<string>
}

export async function folder(files: Readonly<Record<string, unknown>> = {}): Promise<Folder> {
  const dir = await mkdtemp(path.join(tmpdir(), 'weft-schemas-'))
  const write = async (file: string, content: unknown) => {
    await mkdir(path.dirname(path.join(dir, file)), { recursive: true })
    await writeFile(path.join(dir, file), typeof content === 'string' ? content : JSON.stringify(content))
  }
  for (const [file, content] of Object.entries(files)) await write(file, content)
  return {
    dir,
    write,
    read: file => readFile(path.join(dir, file), 'utf8'),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  }
}

export const field = (name: string, type: unknown, rest: object = {}) => ({ name, type, doc: `The ${name}.`, ...rest })

export const record = (fields: readonly object[], rest: object = {}) => ({
  type: 'record',
  name: 'Thing',
  namespace: 'dev.weft',
  doc: 'A thing.',
  fields,
  ...rest,
})

/** A topic definition that is right, as an object. */
export const topic = (rest: object = {}) => ({
  purpose: 'Things.',
  schema: 'things.v1.avsc',
  key: '{id}',
  partitions: 3,
  retention: '7d',
  cleanup: 'delete',
  compatibility: 'BACKWARD',
  owner: 'tests',
  producers: ['tests'],
  consumers: ['tests'],
  ...rest,
})

/** A folder with one topic, things.v1, of this schema. JSON is YAML too. */
export const oneTopic = (schema: unknown = record([field('id', 'string')]), rest: object = {}) =>
  folder({ 'catalogue.yaml': { topics: { 'things.v1': topic(rest) } }, 'things.v1.avsc': schema })
