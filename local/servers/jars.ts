import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const cache = fileURLToPath(new URL('../../node_modules/.cache/weft-servers/', import.meta.url))

/** The oldest Java that the servers run on. */
const JAVA = 17

/** What a machine has to have and lacks: one sentence with the remedy. */
export class Missing extends Error {
  override readonly name = 'Missing'
}

/** The java to run and its major version. Missing if there is none, or one too old. */
export function java(): { readonly binary: string; readonly version: number } {
  const home = process.env.JAVA_HOME
  const binary = home ? path.join(home, 'bin', 'java') : 'java'
  const { status, stderr, stdout } = spawnSync(binary, ['-version'], { encoding: 'utf8' })
  if (status !== 0)
    throw new Missing(
      `there is no Java${home ? ` in JAVA_HOME (${home})` : ''}: install a JDK or JRE, ${JAVA} or later`,
    )
  const version = Number(/version "(\d+)/.exec(stderr + stdout)?.[1] ?? 0)
  if (version < JAVA)
    throw new Missing(`Java ${version} is too old: install ${JAVA} or later, or let JAVA_HOME point to one`)
  return { binary, version }
}

/**
 * The folder with what `<server>.pom.xml` names: jars, or an archive's content. It comes from Maven Central once and is
 * kept. `say` hears of progress.
 */
export async function fetched(
  server: string,
  say: (text: string) => void,
  pom = fileURLToPath(new URL(`${server}.pom.xml`, import.meta.url)),
): Promise<string> {
  const version = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 12)
  const folder = path.join(cache, `${server}-${version}`)
  if (existsSync(folder)) return folder
  const fresh = `${folder}.${process.pid}`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { recursive: true })
  try {
    await download(server, pom, fresh, say)
    for (const archive of readdirSync(fresh).filter(name => name.endsWith('.tar.gz'))) unpack(fresh, archive)
    if (!existsSync(folder)) renameSync(fresh, folder)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return folder
}

async function download(server: string, pom: string, folder: string, say: (text: string) => void): Promise<void> {
  if (spawnSync('mvn', ['--version']).status !== 0)
    throw new Missing(`there is no Maven to fetch ${server} with: install maven (the command is mvn)`)
  say(`fetching ${server} from Maven Central, once`)
  const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${folder}`]
  const child = spawn('mvn', ['-Dstyle.color=never', '-f', pom, ...goal], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [output, files, current] = ['', 0, '']
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (data: string) => {
      files += data.split('Downloaded from ').length - 1
      current = /Progress \(\d+\): ([^\r\n]*?) *[\r\n][^\r\n]*$/.exec(data)?.[1] ?? current
      output = (output + data.replace(/[^\n]*\r/g, '')).slice(-20_000)
    })
  const progress = setInterval(
    () => say(`fetching ${server}: ${current ? `${files} files, now at ${current}` : 'still at it'}`),
    5_000,
  )
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject).once('close', resolve)
  const code = await promise.finally(() => clearInterval(progress))
  if (code === 0) return
  const [, why = `it ended with ${code}`] = /^\[ERROR\] (.*)$/m.exec(output) ?? []
  throw new Missing(`Maven could not fetch ${server}; check the network and Maven's settings: ${why}`)
}

/** By tar, because Maven's own way cuts long names off. */
function unpack(folder: string, archive: string): void {
  const { status, stderr, error } = spawnSync('tar', ['-xzf', archive], { cwd: folder, encoding: 'utf8' })
  if (status !== 0) throw new Error(`tar could not unpack ${archive}: ${error?.message ?? stderr.trim()}`)
  rmSync(path.join(folder, archive))
}
