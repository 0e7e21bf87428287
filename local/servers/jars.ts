import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const cache = path.join(root, 'node_modules', '.cache', 'weft-servers')

/** The oldest Java that Kafka's brokers run on. */
const JAVA = 17

/** What a machine has to have and lacks: one sentence with the remedy. */
export class Missing extends Error {
  override readonly name = 'Missing'
}

/** The java to run. Missing if there is none, or one too old. */
export function java(): string {
  const home = process.env.JAVA_HOME
  const binary = home ? path.join(home, 'bin', 'java') : 'java'
  const { status, stderr, stdout } = spawnSync(binary, ['-version'], { encoding: 'utf8' })
  if (status !== 0)
    throw new Missing(
      `there is no Java${home ? ` in JAVA_HOME (${home})` : ''}: install a JDK or JRE, ${JAVA} or later`,
    )
  const [, major = '0'] = /version "(\d+)/.exec(stderr + stdout) ?? []
  if (Number(major) < JAVA)
    throw new Missing(`Java ${major} is too old: install ${JAVA} or later, or let JAVA_HOME point to one`)
  return binary
}

/** The class path of a server, whose jars come from Maven Central once and are kept. `say` hears of progress. */
export async function classPath(server: string, say: (text: string) => void): Promise<string> {
  const pom = fileURLToPath(new URL(`${server}.pom.xml`, import.meta.url))
  const version = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 12)
  const folder = path.join(cache, `${server}-${version}`)
  if (!existsSync(folder)) await download(server, pom, folder, say)
  return path.join(folder, '*')
}

async function download(server: string, pom: string, folder: string, say: (text: string) => void): Promise<void> {
  if (spawnSync('mvn', ['--version']).status !== 0)
    throw new Missing(`there is no Maven to fetch the jars of ${server} with: install maven (the command is mvn)`)
  const fresh = `${folder}.${process.pid}`
  mkdirSync(fresh, { recursive: true })
  say(`fetching the jars of ${server} from Maven Central, once`)
  const progress = setInterval(() => {
    const jars = readdirSync(fresh)
    const bytes = jars.reduce((sum, jar) => sum + statSync(path.join(fresh, jar)).size, 0)
    say(`fetching the jars of ${server}: ${jars.length} files, ${Math.round(bytes / 1e6)} MB so far`)
  }, 5_000)
  const child = spawn(
    'mvn',
    ['-B', '-q', '-ntp', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${fresh}`],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', data => {
      output = (output + data).slice(-2_000)
    })
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject).once('close', resolve)
  const code = await promise.finally(() => clearInterval(progress))
  if (code !== 0) {
    rmSync(fresh, { recursive: true, force: true })
    throw new Error(
      `Maven could not fetch the jars of ${server}; check the network and Maven's settings:\n${output.trim()}`,
    )
  }
  try {
    renameSync(fresh, folder)
  } catch {
    // Another was first.
    rmSync(fresh, { recursive: true, force: true })
  }
}
