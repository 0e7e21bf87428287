import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { fetched, java } from './jars.ts'
import { choosePorts, notedPorts } from './ports.ts'
import { answersOk, launch, running, type ServerOptions, type ServerProcess } from './running-server.ts'

/** `url`: of its API that is compatible with Confluent's. */
export interface RegistryServer extends ServerProcess {
  readonly port: number
}

/** Starts an Apicurio registry, or finds it running; its schemas and their ids outlive it. */
export async function startRegistry({
  folder,
  ports,
  heapMb = 256,
  say = () => {},
}: ServerOptions): Promise<RegistryServer> {
  mkdirSync(folder, { recursive: true })
  const found = running(folder)
  if (found) return { ...found, port: notedPorts<'port'>(folder)?.port ?? 0 }
  const { binary } = java()
  const jars = await fetched('registry', say)
  const { port } = await choosePorts(folder, ['port'], ports)
  const url = `http://127.0.0.1:${port}/apis/ccompat/v7`
  say(`starting the schema registry at ${url}`)
  const settings = {
    'quarkus.http.host': '127.0.0.1',
    'quarkus.http.port': port,
    // Records in Kafka name schemas by their ids: these have to be the same after a restart.
    'quarkus.datasource.jdbc.url': `jdbc:h2:file:${path.join(folder, 'schemas')}`,
    'quarkus.datasource.jdbc.initial-size': 2,
    'quarkus.datasource.jdbc.min-size': 2,
    'quarkus.datasource.jdbc.max-size': 10,
    'registry.rest.artifact.deletion.enabled': true,
  }
  const command = [
    binary,
    `-Xmx${heapMb}m`,
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    ...Object.entries(settings).map(([name, value]) => `-D${name}=${value}`),
    '-jar',
    path.join(jars, 'apicurio-registry-app-2.6.13.Final-runner.jar'),
  ] as const
  const server = await launch(folder, command, { url }, () => answersOk(`${url}/subjects`))
  return { ...server, port }
}
